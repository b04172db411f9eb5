// The same for ES modules; it is CommonJS because jest's tests take it, too.
export { chromiumPath, launchChromium, launchProfile } from './chromium.cjs';
