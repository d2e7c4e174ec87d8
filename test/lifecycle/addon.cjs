// Stands in for the addon (KOMT_ADDON) and notes what lib/ has its engine load, so that the cells can
// drive engines without lib/ between.
const addon = require(process.env.KOMT_LIFECYCLE_ADDON);

class Engine extends addon.Engine {
  load(...request) {
    globalThis.komtLoadRequest ??= request.slice(0, 4);
    return super.load(...request);
  }
}

module.exports = { ...addon, Engine, Raw: addon.Engine };
