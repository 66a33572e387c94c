/* Waypost for pages, version 1. Puts a click's id where the page can find it again, and reports goals with it.
 *
 * Landing page:    <script async src="https://go.example.com/waypost.js" data-link="LINK"></script>
 * Thank-you page:  <script async src="https://go.example.com/waypost.js" data-goal="order" data-sum="49.90"
 *                    data-currency="EUR" data-txn-id="A-1001"></script>
 *
 * data-link        records a click on this link where the visitor came without one (direct traffic)
 * data-parameter   the page's parameter that carries a click's id; `click_id` if it is not given
 * data-links       adds the id under this name to the page's links
 * data-goal        reports this goal, with data-sum, data-currency and data-txn-id
 *
 * window.waypost.ready is a promise of the id; window.waypost.goal(name, {sum, currency, txn_id}) reports a goal later.
 * Kept under the page's own origin: the id, 30 days, in localStorage and the cookie `waypost_click`. Nothing else.
 */
(function () {
  "use strict";
  var script = document.currentScript;
  if (!script || window.waypost) { return; }
  var VERSION = 1, NAME = "waypost_click", DAYS = 30, AGAIN_MS = 2000;
  var door = new URL(script.src).origin, options = script.dataset;
  var form = /^[0-9A-Za-z]{23}$/;

  function kept() {
    var found = null;
    try {
      var held = JSON.parse(localStorage.getItem(NAME) || "null");
      if (held && held.until > Date.now()) { found = held.id; }
    } catch (error) { /* storage is switched off, or holds something else */ }
    var cookie = document.cookie.match(new RegExp("(?:^|; )" + NAME + "=([^;]*)"));
    found = found || (cookie && cookie[1]);
    return form.test(found || "") ? found : null;
  }

  function keep(id) {
    var seconds = DAYS * 86400;
    try {
      localStorage.setItem(NAME, JSON.stringify({ id: id, until: Date.now() + seconds * 1000 }));
    } catch (error) { /* the cookie is left */ }
    document.cookie = NAME + "=" + id + "; Max-Age=" + seconds + "; Path=/; SameSite=Lax" +
      (location.protocol === "https:" ? "; Secure" : "");
    return id;
  }

  function send(path, values, isAgain) {
    function again() {
      if (isAgain) { return null; }
      return new Promise(function (done) { setTimeout(done, AGAIN_MS); })
        .then(function () { return send(path, values, true); });
    }
    return fetch(door + path, { method: "POST", body: values, keepalive: true, credentials: "omit" })
      .then(function (answer) { return answer.ok ? answer.json() : answer.status === 503 ? again() : null; }, again);
  }

  function click() {
    var own = new URLSearchParams(location.search);
    var given = own.get(options.parameter || "click_id");
    if (form.test(given || "")) { return Promise.resolve(keep(given)); }
    var id = kept();
    if (id || !options.link) { return Promise.resolve(id); }
    if (document.referrer) { own.set("referrer", document.referrer); }
    return send("/b/click/" + encodeURIComponent(options.link), own)
      .then(function (answer) { return answer && answer.click_id ? keep(answer.click_id) : null; });
  }

  function goal(name, values) {
    return ready.then(function (id) {
      if (!id) { return null; }
      var body = new URLSearchParams({ click_id: id, goal: name });
      ["sum", "currency", "txn_id"].forEach(function (key) {
        if (values && values[key] !== undefined && values[key] !== "") { body.set(key, values[key]); }
      });
      return send("/b/goal", body);
    });
  }

  function mark(id) {
    document.querySelectorAll("a[href]").forEach(function (link) {
      if (link.protocol !== "https:" && link.protocol !== "http:") { return; }
      var url = new URL(link.href);
      url.searchParams.set(options.links, id);
      link.href = url.href;
    });
  }

  var ready = click();
  window.waypost = { version: VERSION, ready: ready, goal: goal };
  if (options.links) {
    ready.then(function (id) {
      if (!id) { return; }
      if (document.readyState === "loading") {
        document.addEventListener("DOMContentLoaded", function () { mark(id); });
      } else { mark(id); }
    });
  }
  if (options.goal) { goal(options.goal, { sum: options.sum, currency: options.currency, txn_id: options.txnId }); }
})();
