// What published binaries hold code for, and what every kernel is compiled for in tests.
export const ARCHITECTURES = ['80', '86', '89', '90a', '100', '120'];
/** GPUs to come compile this themselves. */
export const PTX_ARCHITECTURE = '90';
