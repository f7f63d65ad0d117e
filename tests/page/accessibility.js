() => {
  const found = [];
  const tell = (what, element) => found.push(
    what + (element ? ": " + element.outerHTML.slice(0, 120) : ""));
  const shown = (element) => element.getClientRects().length > 0
    && getComputedStyle(element).visibility !== "hidden";
  const colour = (text) => {
    const parts = text.match(/[\d.]+/g).map(Number);
    return {rgb: parts.slice(0, 3), alpha: parts.length > 3 ? parts[3] : 1};
  };
  const luminance = ({rgb}) => {
    const [r, g, b] = rgb.map((part) => {
      const one = part / 255;
      return one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, two) => {
    const [high, low] = [luminance(one), luminance(two)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const own = colour(getComputedStyle(one).backgroundColor);
      if (own.alpha === 1) return own;
      if (own.alpha > 0) tell("a half transparent ground", one);
    }
    return {rgb: [255, 255, 255], alpha: 1};
  };
  const named = (element) => {
    const label = element.getAttribute("aria-label");
    const by = element.getAttribute("aria-labelledby");
    if (by) return by.split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join(" ");
    const pictures = [...element.querySelectorAll("img")].map((one) => one.alt).join(" ");
    return (label ?? element.textContent + pictures).trim();
  };

  // 3.1.1, 3.1.2: languages
  const known = ["fi", "sv", "en"];
  for (const element of [document.documentElement, ...document.querySelectorAll("[lang]")]) {
    if (!known.includes(element.lang)) tell("no language of ours", element);
  }
  // 2.4.2: a title
  if (document.title.trim().length < 5) tell("no title");
  // 1.4.4: zoom is not forbidden
  const zoom = document.querySelector("meta[name=viewport]")?.content ?? "";
  if (!/width=device-width/.test(zoom) || /maximum-scale|user-scalable/.test(zoom)) tell("viewport");
  // 4.1.1 of old, still what labels and descriptions rest on: ids
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of new Set(ids)) {
    if (ids.filter((one) => one === id).length > 1) tell("an id twice: " + id);
  }
  for (const name of ["aria-labelledby", "aria-describedby", "for"]) {
    for (const element of document.querySelectorAll(`[${name}]`)) {
      for (const id of element.getAttribute(name).split(" ")) {
        if (!document.getElementById(id)) tell(`${name} leads nowhere`, element);
      }
    }
  }
  // 1.3.1, 2.4.6: headings and landmarks
  const levels = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter(shown);
  if (levels.filter((one) => one.tagName === "H1").length !== 1) tell("not one h1");
  levels.forEach((one, at) => {
    const before = at ? Number(levels[at - 1].tagName[1]) : 0;
    if (Number(one.tagName[1]) > before + 1) tell("a heading level is left out", one);
    if (!one.textContent.trim()) tell("an empty heading", one);
  });
  for (const name of ["header", "main", "footer", "nav"]) {
    if (document.querySelectorAll(name).length !== 1) tell("not one " + name);
  }
  // 1.1.1: pictures
  for (const one of document.querySelectorAll("img")) {
    if (!one.hasAttribute("alt")) tell("no alt", one);
    if (!one.complete || !one.naturalWidth) tell("a picture is not shown", one);
  }
  // 1.3.1, 3.3.2, 4.1.2: names; no two controls that say the same and do different things
  const controls = [...document.querySelectorAll(
    "a[href], button, summary, input:not([type=hidden]), select, textarea")].filter(shown);
  for (const one of controls) {
    if (!named(one)) tell("a control without a name", one);
    if (one.tabIndex < 0 || one.disabled) tell("not for the keyboard", one);
  }
  const buttons = controls.filter((one) => one.tagName === "BUTTON").map(named);
  if (new Set(buttons).size !== buttons.length) tell("two buttons of one name");
  // 2.5.8: target size, but for links within a sentence
  for (const one of controls) {
    const box = one.getBoundingClientRect();
    const inline = one.tagName === "A" && one.parentElement.tagName === "P"
      && one.parentElement.textContent.trim() !== one.textContent.trim();
    if (!inline && (box.width < 24 || box.height < 24)) {
      tell(`a target of ${box.width} x ${box.height}`, one);
    }
  }
  // 1.4.3: contrast of every text; 1.4.11: of every border that shows a control
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !shown(element)) continue;
    const ratio = contrast(colour(getComputedStyle(element).color), ground(element));
    if (ratio < 4.5) tell(`contrast ${ratio.toFixed(2)}`, element);
    if (parseFloat(getComputedStyle(element).fontSize) < 14) tell("small print", element);
  }
  for (const one of document.querySelectorAll("button")) {
    const style = getComputedStyle(one);
    if (shown(one) && contrast(colour(style.borderTopColor), ground(one.parentElement)) < 3) {
      tell("the border of a button does not show", one);
    }
  }
  // 2.4.7, 2.4.13: the focus shows
  for (const one of controls) {
    one.focus({focusVisible: true});
    const style = getComputedStyle(one);
    if (document.activeElement !== one) { tell("cannot have the focus", one); continue; }
    if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2) tell("focus unseen", one);
    if (contrast(colour(style.outlineColor), ground(one.parentElement)) < 3) tell("focus faint", one);
  }
  // 1.4.10: reflow; nothing stands out of the window
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) {
    tell(`scrolls sideways: ${document.documentElement.scrollWidth} of ${width}`);
  }
  for (const one of document.querySelectorAll("body *")) {
    if (shown(one) && one.getBoundingClientRect().right > width + 0.5) tell("stands out", one);
  }
  // 2.1.1 and the promise of the pages
  for (const one of document.querySelectorAll("script, iframe, object, embed, link")) tell("foreign", one);
  return found;
}
