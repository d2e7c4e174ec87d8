import { Environment, Interpreter } from '@huggingface/jinja';
import type { Budget, Value } from './budget.js';

/** A node of the syntax tree. */
interface Node {
  type: string;
  [key: string]: unknown;
}

/** A scope. */
interface Scope {
  variables: Map<string, Value>;
  parent?: Scope;
}

/**
 * The methods of the library's interpreter that are overridden here. They are private there, which is
 * why its version is pinned; {@link checkInterpreter} makes sure that they exist.
 */
interface Base {
  evaluate(node: Node | undefined, scope: Scope): Value;
  evaluateBlock(statements: readonly Node[], scope: Scope): Value;
  evaluateIdentifier(node: Node, scope: Scope): Value;
  evaluateBinaryExpression(node: Node, scope: Scope): Value;
  evaluateCallExpression(node: Node, scope: Scope): Value;
  evaluateMemberExpression(node: Node, scope: Scope): Value;
  evaluateFor(node: Node, scope: Scope): Value;
  applyFilter(operand: Value, filter: Node, scope: Scope): Value;
}

const Base = Interpreter as unknown as new (environment: Environment) => Base;

const OVERRIDDEN = [
  'evaluate',
  'evaluateBlock',
  'evaluateIdentifier',
  'evaluateBinaryExpression',
  'evaluateCallExpression',
  'evaluateMemberExpression',
  'evaluateFor',
  'applyFilter',
] as const;

/** @throws Error where the library has changed, so that limits would not be seen. */
export function checkInterpreter(): void {
  for (const name of OVERRIDDEN) {
    if (!(name in Interpreter.prototype)) {
      throw new Error(`@huggingface/jinja has no Interpreter.${name}: use the version komt names`);
    }
  }
}

const probe = new Environment() as unknown as { set(name: string, value: unknown): Value };
const StringValue = probe.set('text', '').constructor as new (text: string) => Value;
const UndefinedValue = probe.set('nothing', undefined).constructor as new () => Value;

/** Type of a node that has been evaluated already. */
const PREPARED = 'Prepared';

function prepared(value: Value): Node {
  return { type: PREPARED, value };
}

/** Units of text that cost as much as a step: to copy, and to look for one character. */
const COPIED = 64;
const SEARCHED = 128;
/** Steps that an iteration of a loop costs beside its body: a scope and nine variables. */
const ITERATION = 32;
/** Steps that an item of a list costs that a function made: an object of its own, looked at twice. */
const ITEM = 4;
/** Steps that leaving an iteration early costs: it is an exception. */
const EXCEPTION = 50;

const isText = (value: Value): boolean => value.type === 'StringValue';
const isList = (value: Value): boolean =>
  value.type === 'ArrayValue' || value.type === 'TupleValue';
const isContainer = (value: Value): boolean => isList(value) || value.value instanceof Map;

/** Runs a template within a {@link Budget}: what an operation will cost is known before it is done. */
export class BoundedInterpreter extends Base {
  readonly #budget: Budget;

  constructor(environment: Environment, budget: Budget) {
    super(environment);
    this.#budget = budget;
  }

  override evaluate(node: Node | undefined, scope: Scope): Value {
    if (node?.type === PREPARED) return node.value as Value;
    const budget = this.#budget;
    budget.enter();
    try {
      if (node?.type === 'Break' || node?.type === 'Continue') budget.charge(EXCEPTION);
      // The filters first and last give undefined for an empty list.
      const value = super.evaluate(node, scope) ?? new UndefinedValue();
      budget.measure(value);
      return value;
    } finally {
      budget.leave();
    }
  }

  override evaluateBlock(statements: readonly Node[], scope: Scope): Value {
    let text = '';
    for (const statement of statements) {
      const value = this.evaluate(statement, scope);
      if (value.type === 'NullValue' || value.type === 'UndefinedValue') continue;
      text += isText(value) ? (value.value as string) : this.#show(value);
      this.#budget.charge((isText(value) ? (value.value as string).length : 0) / COPIED);
      this.#budget.allow(text.length);
    }
    return new StringValue(text);
  }

  #show(value: Value): string {
    this.#chargeText(value);
    return value.toString();
  }

  /** Counts the making of a text of everything in a value. */
  #chargeText(value: Value): void {
    if (isContainer(value)) this.#budget.charge(this.#budget.measure(value).weight / 16);
  }

  /** As the library's, which makes an exception for each name that is not defined. */
  override evaluateIdentifier(node: Node, scope: Scope): Value {
    const name = node.value as string;
    for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
      const value = at.variables.get(name);
      if (value !== undefined) return value;
    }
    return new UndefinedValue();
  }

  override evaluateBinaryExpression(node: Node, scope: Scope): Value {
    const operator = (node.operator as { value: string }).value;
    if (operator === 'and' || operator === 'or') return super.evaluateBinaryExpression(node, scope);
    const left = this.evaluate(node.left as Node, scope);
    const right = this.evaluate(node.right as Node, scope);
    if (operator === 'in' || operator === 'not in') {
      if (isText(left) && isText(right)) this.#chargeSearch(right, left);
      else if (isList(right)) this.#budget.charge((right.value as unknown[]).length / 8);
    } else {
      const text = isText(left) || isText(right) || operator === '~';
      for (const side of [left, right]) {
        if (text) this.#chargeText(side);
        if (isList(side)) this.#budget.charge((side.value as unknown[]).length / 8);
        if (isText(side)) this.#budget.charge((side.value as string).length / COPIED);
      }
    }
    return super.evaluateBinaryExpression(
      { ...node, left: prepared(left), right: prepared(right) },
      scope,
    );
  }

  /** Looking for one text in another takes the product of their lengths at worst. */
  #chargeSearch(text: Value, wanted: Value): void {
    const length = (value: Value) => (value.value as string).length;
    this.#budget.charge((length(text) * Math.max(1, length(wanted))) / SEARCHED);
  }

  /** Arguments of a call, evaluated in the library's order: positions, then names. */
  #prepare(args: readonly Node[], scope: Scope): { nodes: Node[]; values: Value[] } {
    const nodes: Node[] = [...args];
    const values: Value[] = [];
    const isKeyword = ({ type }: Node) =>
      type === 'KeywordArgumentExpression' || type === 'KeywordSpreadExpression';
    for (const keywords of [false, true]) {
      args.forEach((node, i) => {
        if (isKeyword(node) !== keywords) return;
        const key =
          node.type === 'KeywordArgumentExpression'
            ? 'value'
            : node.type.endsWith('SpreadExpression')
              ? 'argument'
              : null;
        const value = this.evaluate((key === null ? node : node[key]) as Node, scope);
        values.push(value);
        // Some filters ask whether an argument is a literal.
        if (key !== null) nodes[i] = { ...node, [key]: prepared(value) };
        else if (node.type !== 'StringLiteral') nodes[i] = prepared(value);
      });
    }
    return { nodes, values };
  }

  override evaluateCallExpression(node: Node, scope: Scope): Value {
    const { nodes, values } = this.#prepare(node.args as Node[], scope);
    let callee = node.callee as Node;
    if (callee.type === 'MemberExpression') {
      const object = this.evaluate(callee.object as Node, scope);
      callee = { ...callee, object: prepared(object), called: true };
      const property = callee.property as Node;
      let name: unknown = property.value;
      if (callee.computed === true && property.type !== 'SliceExpression') {
        const value = this.evaluate(property, scope);
        callee.property = prepared(value);
        name = value.value;
      }
      this.#checkMethod(object, name, values);
    }
    return this.#made(super.evaluateCallExpression({ ...node, args: nodes, callee }, scope));
  }

  #checkMethod(object: Value, name: unknown, args: readonly Value[]): void {
    if (!isText(object)) {
      if (isContainer(object)) this.#chargeSort(object);
      return;
    }
    const text = object.value as string;
    this.#budget.charge(text.length / COPIED);
    if (name === 'replace') this.#checkReplace(object, args);
    if (name !== 'split') return;
    const [separator] = args;
    if (separator !== undefined && isText(separator)) this.#chargeSearch(object, separator);
    // Each part is a value of its own.
    const pattern = separator === undefined || !isText(separator) ? null : separator.value;
    this.#budget.allow(16 * countParts(text, pattern as string | null));
  }

  #checkReplace(object: Value, [old, replacement]: readonly Value[]): void {
    if (old === undefined || replacement === undefined) return;
    if (!isText(old) || !isText(replacement)) return;
    this.#chargeSearch(object, old);
    const text = object.value as string;
    const count = old.value === '' ? text.length + 1 : countParts(text, old.value as string) - 1;
    this.#budget.allow(text.length + count * (replacement.value as string).length);
  }

  /** Counts what sorting takes, the most that a filter or method of a list or mapping does. */
  #chargeSort(value: Value): void {
    const { weight } = this.#budget.measure(value);
    this.#budget.charge((weight * Math.log2(weight)) / COPIED);
  }

  /** Counts the making of a value. */
  #made(value: Value): Value {
    if (isText(value)) this.#budget.charge((value.value as string).length / COPIED);
    else if (isList(value)) this.#budget.charge(ITEM * (value.value as unknown[]).length);
    return value;
  }

  /** A method that is kept under a name would be called unseen. */
  override evaluateMemberExpression(node: Node, scope: Scope): Value {
    const object = this.evaluate(node.object as Node, scope);
    const value = super.evaluateMemberExpression({ ...node, object: prepared(object) }, scope);
    if (value.type === 'FunctionValue' && isText(object) && node.called !== true) {
      throw new Error('A method of a string can only be called');
    }
    return value;
  }

  override evaluateFor(node: Node, scope: Scope): Value {
    const iterable = node.iterable as Node;
    const selects = iterable.type === 'SelectExpression';
    const list = this.evaluate((selects ? iterable.lhs : iterable) as Node, scope);
    const { value } = list;
    const count = Array.isArray(value) ? value.length : value instanceof Map ? value.size : 0;
    this.#budget.charge(ITERATION * count);
    const known = prepared(list);
    return super.evaluateFor(
      { ...node, iterable: selects ? { ...iterable, lhs: known } : known },
      scope,
    );
  }

  override applyFilter(operand: Value, filter: Node, scope: Scope): Value {
    if (filter.type !== 'CallExpression') {
      this.#checkFilter(operand, filter.value, [], []);
      return this.#made(super.applyFilter(operand, filter, scope) ?? new UndefinedValue());
    }
    const args = filter.args as Node[];
    const { nodes, values } = this.#prepare(args, scope);
    this.#checkFilter(operand, (filter.callee as Node).value, values, args);
    const value = super.applyFilter(operand, { ...filter, args: nodes }, scope);
    return this.#made(value ?? new UndefinedValue());
  }

  #checkFilter(
    operand: Value,
    name: unknown,
    values: readonly Value[],
    args: readonly Node[],
  ): void {
    const budget = this.#budget;
    const { weight, depth } = budget.measure(operand);
    const texts = values.flatMap((value) => (isText(value) ? [value.value as string] : []));
    const longest = texts.reduce((most, text) => Math.max(most, text.length), 0);
    const width = values.reduce((most, { value }) => {
      return typeof value === 'number' ? Math.max(most, Math.abs(value)) : most;
    }, 0);
    if (isContainer(operand)) this.#chargeSort(operand);
    else budget.charge(weight / COPIED);
    if (name === 'replace' && isText(operand)) {
      const positional = values.slice(0, args.filter(({ type }) => !/^Keyword/.test(type)).length);
      this.#checkReplace(operand, positional);
    } else if (name === 'join') {
      const { value } = operand;
      const count = Array.isArray(value) || typeof value === 'string' ? value.length : 0;
      budget.allow(weight + count * longest);
    } else if (name === 'indent' && isText(operand)) {
      budget.allow(weight + countParts(operand.value as string, '\n') * width);
    } else if (name === 'tojson') {
      this.#chargeText(operand);
      // Separators and indentation stand before each part; separators are a list of two texts.
      const separators = values.reduce(
        (sum, value) => sum + (isList(value) ? budget.measure(value).weight : 0),
        0,
      );
      budget.allow(weight + (weight / 8) * (width * (depth + 1) + separators));
    }
  }
}

/** Number of parts that a text has between separators; null stands for white space. */
function countParts(text: string, separator: string | null): number {
  // Two units are a word and a space at least.
  if (separator === null) return text.length / 2 + 1;
  if (separator === '') return text.length + 1;
  let count = 1;
  for (let at = text.indexOf(separator); at >= 0; count++) {
    at = text.indexOf(separator, at + separator.length);
  }
  return count;
}
