import { mount } from 'svelte';
import App from './App.svelte';
import { router } from './lib/router.svelte';
import { session } from './lib/session.svelte';
import { preloadEngine } from './player/engine';
import './styles/base.css';

router.start();
void session.start();
// The largest file by far, and needed for the first picture.
if (router.route.name === 'watch' || router.route.name === 'live') void preloadEngine().catch(() => undefined);

const target = document.getElementById('app');
if (target) mount(App, { target });
