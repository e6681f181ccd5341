import { mount } from 'svelte';
import App from './App.svelte';
import { router } from './lib/router.svelte';
import { session } from './lib/session.svelte';
import './styles/base.css';

router.start();
void session.start();

const target = document.getElementById('app');
if (target) mount(App, { target });
