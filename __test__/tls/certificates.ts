// Certificates, made for a test.
import { md, pki } from 'node-forge';

/** A certificate and its key, in PEM. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

/** What signs certificates. */
export interface Authority {
  readonly ca: string;
  issue(names: readonly string[], options?: { expired?: boolean }): Pair;
}

const DAY = 24 * 60 * 60 * 1000;
let serial = 0;

function unsigned(name: string, key: pki.rsa.KeyPair, from: number, to: number): pki.Certificate {
  const certificate = pki.createCertificate();
  certificate.publicKey = key.publicKey;
  serial += 1;
  certificate.serialNumber = serial.toString(16).padStart(2, '0');
  certificate.validity.notBefore = new Date(Date.now() + from);
  certificate.validity.notAfter = new Date(Date.now() + to);
  certificate.setSubject([{ name: 'commonName', value: name }]);
  return certificate;
}

function keys(): pki.rsa.KeyPair {
  return pki.rsa.generateKeyPair({ bits: 2048 });
}

function altNames(names: readonly string[]): object {
  const isAddress = (name: string): boolean => /^[\d.]+$/.test(name);
  return {
    name: 'subjectAltName',
    altNames: names.map((name) =>
      isAddress(name) ? { type: 7, ip: name } : { type: 2, value: name },
    ),
  };
}

/** An authority of its own name. */
export function authority(): Authority {
  const own = keys();
  const root = unsigned(`authority ${String(serial)} of a test`, own, -DAY, DAY);
  root.setIssuer(root.subject.attributes);
  root.setExtensions([{ name: 'basicConstraints', cA: true }]);
  root.sign(own.privateKey, md.sha256.create());
  return {
    ca: pki.certificateToPem(root),
    issue(names, { expired = false } = {}) {
      const key = keys();
      const [from, to] = expired ? [-3 * DAY, -DAY] : [-DAY, DAY];
      const certificate = unsigned(names[0] ?? 'nobody', key, from, to);
      certificate.setIssuer(root.subject.attributes);
      certificate.setExtensions([altNames(names)]);
      certificate.sign(own.privateKey, md.sha256.create());
      return { cert: pki.certificateToPem(certificate), key: pki.privateKeyToPem(key.privateKey) };
    },
  };
}

/** One that nobody signed but itself. */
export function selfSigned(names: readonly string[]): Pair {
  const key = keys();
  const certificate = unsigned(names[0] ?? 'nobody', key, -DAY, DAY);
  certificate.setIssuer(certificate.subject.attributes);
  certificate.setExtensions([altNames(names)]);
  certificate.sign(key.privateKey, md.sha256.create());
  return { cert: pki.certificateToPem(certificate), key: pki.privateKeyToPem(key.privateKey) };
}
