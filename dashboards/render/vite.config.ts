import { defineConfig } from 'vite';

// One file is fine for a page that is only drawn from here.
export default defineConfig({
  base: './',
  build: { chunkSizeWarningLimit: Infinity, sourcemap: false, target: 'es2023' },
  publicDir: 'node_modules/@grafana/ui/dist/public',
});
