export default {
  roots: ['<rootDir>/__test__'],
  testMatch: ['<rootDir>/__test__/**/*.test.ts'],
  testEnvironment: 'node',
  testTimeout: 30_000,
  maxWorkers: 2,
  transform: { '^.+\\.ts$': '<rootDir>/scripts/jest-transform.cjs' },
};
