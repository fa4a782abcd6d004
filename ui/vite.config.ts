import { defineConfig } from 'vite'

// Names of assets hold a hash of their content, so that browsers may keep them. Nothing is inlined: the page runs under
// a policy that forbids inline scripts, styles and data URLs.
export default defineConfig({
  base: './',
  build: {
    outDir: '../src/segscope/serve/static',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
  },
  server: {
    port: 5173,
    proxy: { '/v1': { target: process.env['SEGSCOPE'] ?? 'http://127.0.0.1:8787', ws: true } },
  },
})
