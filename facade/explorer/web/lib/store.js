// Values that several components show: `useStore(store)` renders a component again whenever the value changes.
import { useEffect, useReducer } from "../vendor/htm-preact-standalone.js";

/** Return a store: `value`, `set(value)`, and `subscribe(listener)`, which returns a function that ends it. */
export function createStore(initial) {
  const listeners = new Set();
  const store = {
    value: initial,
    set(value) {
      if (Object.is(store.value, value)) return;
      store.value = value;
      for (const listener of [...listeners]) listener(value);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  return store;
}

/** Return the value of a store, in a component. */
export function useStore(store) {
  const [, render] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    const seen = store.value;
    const end = store.subscribe(render);
    if (!Object.is(seen, store.value)) render();
    return end;
  }, [store]);
  return store.value;
}

/** Return a store whose value is kept in this browser. Never for data of patients. */
export function createKeptStore(name, initial) {
  const key = `dicomstore.${name}`;
  let kept = initial;
  try {
    kept = JSON.parse(localStorage.getItem(key)) ?? initial;
  } catch {
    // Storage is disabled, or has something else.
  }
  const store = createStore(kept);
  store.subscribe((value) => {
    try {
      localStorage.setItem(key, JSON.stringify(value));
    } catch {
      // Without storage, the value lasts as long as the page.
    }
  });
  return store;
}
