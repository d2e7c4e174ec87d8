export { isObject, type JsonObject } from '../bounded-json.js';
