// Replaces the zarr reader of Niivue, which the page never calls (see vite.config.ts).

export const [FetchStore, get, open, root, slice]: undefined[] = []
