import { defineConfig } from 'vite'

// Asset names contain a hash of their content, so that browsers may cache them. Nothing is inlined,
// because this policy forbids inline scripts, inline styles and data URLs.
const POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'"

// The server sends a policy, too; this one applies whatever serves the page.
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
  // leaves out the zarr reader of Niivue: 1.4 MB that the page never calls
  resolve: { alias: { zarrita: new URL('./src/viewer/zarritaStub.ts', import.meta.url).pathname } },
  build: {
    outDir: '../src/segscope/serve/static',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
    chunkSizeWarningLimit: 900, // Niivue, which is loaded on demand
  },
  server: {
    port: 5173,
    proxy: { '/v1': { target: process.env['SEGSCOPE'] ?? 'http://127.0.0.1:8787', ws: true } },
  },
})
