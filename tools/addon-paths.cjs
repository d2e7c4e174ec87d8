// Where an addon may lie, best first. Shared by the installer and (as its own copy of the rule)
// lib/native/load.ts; both lie one level below the package's root.
const path = require('node:path');

/** @returns {string[]} absolute paths or package names to pass to require() */
exports.candidates = function candidates() {
  const root = path.resolve(__dirname, '..');
  const list = [];
  if (process.env.KOMT_ADDON) list.push(path.resolve(process.env.KOMT_ADDON));
  list.push(path.join(root, 'build/Release/komt.node'), path.join(root, 'build/Debug/komt.node'));
  list.push(`@komt/${process.platform}-${process.arch}`);
  return list;
};
