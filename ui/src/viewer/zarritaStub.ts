// In the place of the zarr reader that Niivue brings (see vite.config.ts): nothing here calls it.

export const [FetchStore, get, open, root, slice]: undefined[] = []
