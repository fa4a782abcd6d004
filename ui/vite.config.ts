import { defineConfig } from 'vite'

// Names of assets hold a hash of their content, so that browsers may keep them. Nothing is inlined: the page runs under
// a policy that forbids inline scripts, styles and data URLs.
const POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'"

// the server sends a policy of its own; the page holds itself to the stricter of the two, whatever serves it
const policy = {
  name: 'policy',
  apply: 'build' as const,
  transformIndexHtml: () => [
    {
      tag: 'meta',
      attrs: { 'http-equiv': 'Content-Security-Policy', content: POLICY },
      injectTo: 'head-prepend' as const,
    },
  ],
}

export default defineConfig({
  plugins: [policy],
  base: './',
  // what only reads zarr over the network is left out of Niivue: 1.4 MB that is never called
  resolve: { alias: { zarrita: new URL('./src/viewer/zarritaStub.ts', import.meta.url).pathname } },
  build: {
    outDir: '../src/segscope/serve/static',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
    chunkSizeWarningLimit: 900, // Niivue, which comes when it is asked for
  },
  server: {
    port: 5173,
    proxy: { '/v1': { target: process.env['SEGSCOPE'] ?? 'http://127.0.0.1:8787', ws: true } },
  },
})
