// Compares two pictures: `node compare-images.mjs <expected.png> <actual.png> <difference.png>` prints which part of the
// pixels differs, from 0 to 1, and writes where. Pictures of different sizes differ wholly.
import { readFileSync, writeFileSync } from 'node:fs';
import pixelmatch from 'pixelmatch';
import { PNG } from 'pngjs';

const [expectedFile, actualFile, differenceFile] = process.argv.slice(2);
const [expected, actual] = [expectedFile, actualFile].map((file) =>
  PNG.sync.read(readFileSync(file)),
);
const { width, height } = expected;
if (actual.width !== width || actual.height !== height) {
  console.log(1);
} else {
  const difference = new PNG({ width, height });
  const pixels = pixelmatch(expected.data, actual.data, difference.data, width, height);
  writeFileSync(differenceFile, PNG.sync.write(difference));
  console.log(pixels / (width * height));
}
