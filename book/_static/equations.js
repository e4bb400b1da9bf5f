// Brings MathJax to a page with equations. It is kept compressed, a fifth of its size, so that little is loaded from
// any server, also from one that compresses nothing. The page's policy names its hash and lets no other text run.
(async (here) => {
  const script = document.createElement("script");
  try {
    const answer = await fetch(new URL("mathjax/mathjax.bin", here));
    const text = answer.body.pipeThrough(new DecompressionStream("gzip"));
    script.textContent = await new Response(text).text();
  } catch {
    // An older browser, or a page that was opened as a file.
    script.src = new URL("mathjax/mathjax.js", here);
  }
  window.MathJax = { ...window.MathJax, loader: { paths: { mathjax: new URL("mathjax", here).href } } };
  document.head.append(script);
})(document.currentScript.src);
