/**
 * `target` with some of its properties replaced, for whoever is handed the result; `target` itself stays as it is, and what it
 * gains later is seen. A proxy, because libp2p's parts have private fields (which an inheriting object has not) and its
 * components are a proxy whose setter would replace the part for everybody.
 */
export function override<T extends object>(target: T, replaced: Partial<T>): T {
  return new Proxy(target, {
    get(_target, name) {
      if (Object.hasOwn(replaced, name)) return replaced[name as keyof T];
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? (value as (...args: unknown[]) => unknown).bind(target) : value;
    },
  });
}
