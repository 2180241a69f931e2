// Light or dark, before anything is painted: a classic script, since modules run later. By default as the system is.
(() => {
  const KEY = 'parley.theme';
  const root = document.documentElement;
  const dark = matchMedia('(prefers-color-scheme: dark)');
  let chosen = null;
  try {
    chosen = localStorage.getItem(KEY);
  } catch {
    // cookies are blocked: the choice lasts until the page is reloaded
  }
  if (chosen) root.dataset.theme = chosen;

  addEventListener('DOMContentLoaded', () => {
    const button = document.getElementById('theme');
    const isDark = () => (root.dataset.theme ?? (dark.matches ? 'dark' : 'light')) === 'dark';
    const show = () => (button.ariaPressed = String(isDark()));
    button.addEventListener('click', () => {
      root.dataset.theme = isDark() ? 'light' : 'dark';
      show();
      try {
        localStorage.setItem(KEY, root.dataset.theme);
      } catch {
        // as above
      }
    });
    dark.addEventListener('change', show);
    show();
  });
})();
