"""A day at the desk, in Chromium: run by tests/page.rs, which says in the environment where the page is and who may come in."""

import json
import os
import re
import shutil
import signal
import sys
import time
import urllib.request
from urllib.parse import urlparse

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

PAGE, VIEWER, OPERATOR, HOSTILE = (os.environ[name] for name in ("PAGE", "VIEWER", "OPERATOR", "HOSTILE"))
PROCESS = int(os.environ["PROCESS"])
PICTURES = os.environ.get("BELLWETHER_PICTURES")
# Containers have next to no /dev/shm.
SWITCHES = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
VIEWS = ["market", "tape", "try", "health"]

# Chromium tells of every answer that is no success; these two are asked for here.
REFUSED = re.compile(r"status of (401|422) ")

complaints = []


def visitor(browser: Browser, token=OPERATOR, width=1440, height=900, scheme="light", locale="en-GB") -> Page:
    """Somebody with a browser of their own, logged in where they have a token."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, locale=locale)
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("console", lambda message: complaints.append(f"console: {message.text}") if message.type in ("error", "warning") and not REFUSED.search(message.text) else None)
    # No request leaves the server.
    page.on("request", lambda request: complaints.append(f"went out: {request.url}") if urlparse(request.url).netloc not in ("", urlparse(PAGE).netloc) else None)
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.goto(PAGE)
    if token:
        page.wait_for_url("**/login")
        page.fill("#token", token)
        page.click("button")
        page.wait_for_selector("#subject-rows tr")
    return page


def go(page: Page, place: str):
    page.evaluate("place => { location.hash = place }", place)
    page.wait_for_timeout(250)


def picture(page: Page, name: str, **how):
    if PICTURES:
        page.wait_for_timeout(400)
        page.screenshot(path=f"{PICTURES}/{name}.png", **how)


def snapshot() -> dict:
    request = urllib.request.Request(f"{PAGE}/api/v1/snapshot", headers={"Authorization": f"Bearer {VIEWER}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def push(title: str):
    headers = {"Authorization": f"Bearer {OPERATOR}", "Content-Type": "application/json"}
    item = json.dumps({"title": title, "source": "page.example"}).encode()
    urllib.request.urlopen(urllib.request.Request(f"{PAGE}/api/v1/news", item, headers), timeout=10).read()


def texts(page: Page, selector: str) -> list:
    """As it is once what was asked for is painted."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator(selector).all_inner_texts()


def number(text: str) -> float:
    return float("nan") if text == "–" else float(text.replace("−", "-").replace("+", "").replace(",", "").rstrip("%"))


# ---- what a desk does ----


def who_may_come_in(browser):
    page = visitor(browser, token=None)
    page.wait_for_url("**/login")
    page.fill("#token", "bwt_wrong")
    page.click("button")
    expect(page.locator("#refused")).to_be_visible()
    assert axe(page) == []
    page.context.close()
    page = visitor(browser, token=None, locale="zh-CN")
    page.wait_for_url("**/login")
    expect(page.locator("button")).to_have_text("登录")
    page.context.close()


def the_desk_sees_what_changed_most(browser):
    page = visitor(browser)
    data = snapshot()
    named = {alert["subject_name"] for alert in data["alerts"]["open"]}
    assert set(texts(page, "#alert-list h3 a")) == named, "every open alert is on the list"
    assert page.title() == f"({len(data['alerts']['open'])}) Bellwether"
    changes = [number(text) for text in texts(page, "#subject-rows td.change")][1:]
    known = [abs(change) for change in changes if change == change]
    assert len(known) > 10 and known == sorted(known, reverse=True), f"by what changed most: {changes}"
    assert page.locator("#subject-rows th a").first.inner_text() == "Market"
    page.click("th[data-sort=mean] button")
    means = [number(text) for text in texts(page, "#subject-rows td:nth-child(3)")][1:]
    means = [mean for mean in means if mean == mean]
    assert means == sorted(means) and means[0] < -0.8, means
    assert page.locator("th[data-sort=mean]").get_attribute("aria-sort") == "ascending"
    page.click("th[data-sort=change] button")
    page.fill("#find", "harbour")
    assert texts(page, "#subject-rows th a") == ["Harbourline Bank"]
    page.fill("#find", "no such name")
    expect(page.locator("#subjects-empty")).to_have_text("No subject is called so.")
    page.fill("#find", "")
    page.select_option("#kind", "group")
    assert "Regional banks" in texts(page, "#subject-rows th a") and "Harbourline Bank" not in texts(page, "#subject-rows th a")
    page.select_option("#kind", "")
    # By the keyboard alone.
    page.locator("#subject-rows th a").first.focus()
    page.keyboard.press("ArrowDown")
    second = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    expect(page.locator("#subject-heading")).to_have_text(second)
    expect(page.locator("#subject-rows a[aria-current]")).to_have_text(second)
    go(page, "group:regional-banks")
    expect(page.locator("#subject-heading")).to_have_text("Regional banks")
    # Its course: a chart that is drawn, a band of what is usual, its alerts.
    assert page.locator("#chart canvas").count() > 0
    assert re.search(r"usually [\d.]+, rarely over \d+", page.locator("#legend").inner_text()), page.locator("#legend").inner_text()
    assert "Fired" in texts(page, "#subject-alerts .transition")
    go(page, "market")
    picture(page, "page")
    page.reload()
    page.wait_for_selector("#subject-rows tr")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    print(f"first paint after {paint:.0f} ms")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip", "the first stop leads past the head"
    page.context.close()


def an_alert_says_why(browser):
    page = visitor(browser)
    alert = next(alert for alert in snapshot()["alerts"]["open"] if alert["subject"] == "group:regional-banks")
    page.click("#alert-list h3 a:text-is('Regional banks')")
    view = page.locator("#alert-view")
    expect(view.locator("h2")).to_have_text("Regional banks")
    assert view.locator(".sentence").inner_text() == alert["why"]
    meaning = view.locator(".meaning").inner_text()
    assert "By chance alone such an alarm comes" in meaning and "told by" in meaning, meaning
    assert view.locator(".evidence li").count() == len(alert["evidence"])
    assert view.locator(".evidence mark").count() > 2, "words are coloured"
    assert view.locator(".spread:visible").count() > 0, "how stories spread"
    assert alert["rule"] in view.locator("[data-slot=rule]").inner_text()
    expect(page.locator("#subject-heading")).to_have_text("Regional banks")
    picture(page, "page-alert")
    page.click("#alert-view .back a")
    expect(view).to_be_hidden()
    go(page, "alert/none/market/2020-01-01T00:00:00.000Z")
    expect(view).to_contain_text("bellwether trace")
    page.context.close()


def operators_act_and_all_see_it(browser):
    page, colleague = visitor(browser), visitor(browser, token=VIEWER)
    alert = next(alert for alert in snapshot()["alerts"]["open"] if alert["subject"] == "group:regional-banks")
    for desk in (page, colleague):
        go(desk, f"alert/{alert['id']}")
    expect(colleague.locator("[data-slot=may-not]")).to_contain_text("you look on as a viewer")
    expect(colleague.locator(".act form")).to_be_hidden()
    words = "Ana is on it" if PICTURES else "Ana is on it <b>now</b>"
    page.fill(".act input", words)
    page.click("button[name=acknowledge]")
    for desk in (page, colleague):
        expect(desk.locator("[data-slot=acknowledged]")).to_contain_text("Acknowledged by ops")
        expect(desk.locator("[data-slot=acknowledged]")).to_contain_text(words)
        expect(desk.locator("#alert-list .alert[data-acknowledged=true] h3")).to_have_text("Regional banks")
    assert texts(page, "#alert-list h3")[-1] == "Regional banks", "what nobody has looked at comes first"
    page.select_option("select[name=for]", "4h")
    page.click("button[name=silence]")
    for desk in (page, colleague):
        expect(desk.locator("[data-slot=silenced]")).to_contain_text("Silenced by ops until")
    page.reload()
    expect(page.locator("[data-slot=acknowledged]")).to_contain_text("Ana is on it")
    page.click("button[name=lift]")
    expect(page.locator("[data-slot=silenced]")).to_be_hidden()
    page.click("button[name=withdraw]")
    for desk in (page, colleague):
        expect(desk.locator("[data-slot=acknowledged]")).to_be_hidden()
    # Who logs out in one window is told so in the other; what was seen stays, with its time.
    other = page.context.new_page()
    other.goto(PAGE)
    other.click("#holder button")
    expect(page.locator("#connection")).to_contain_text("The session has ended. Log in again Everything below stands as of", use_inner_text=True)
    page.click("#connection a")
    page.wait_for_url("**/login")
    page.context.close()
    colleague.context.close()


def the_tape_runs_and_can_be_searched(browser):
    page = visitor(browser)
    go(page, "tape")
    assert page.locator("#tape-list li").count() == 200
    page.fill("#tape-filter", "harbourline")
    found = texts(page, "#tape-list li")
    assert 5 < len(found) < 200 and all("harbourline" in text.lower() for text in found)
    page.select_option("#tape-sentiment", "positive")
    scores = [number(text) for text in texts(page, "#tape-list .score")]
    assert all(score > -0.5 for score in scores), scores
    page.select_option("#tape-sentiment", "")
    page.fill("#tape-filter", "page.example")
    expect(page.locator("#tape-empty")).to_have_text("Nothing on the tape has that.")
    push("Lanternfish Bank halts withdrawals")
    expect(page.locator("#tape-list li")).to_contain_text(["Lanternfish Bank halts withdrawals"])
    page.click("#tape-pause")
    push("Lanternfish Bank collapses")
    wait_until(lambda: any(item["title"] == "Lanternfish Bank collapses" for item in snapshot()["tape"]), "the second item")
    page.wait_for_timeout(1500)
    assert page.locator("#tape-list li").count() == 1, "it is paused"
    page.click("#tape-pause")
    expect(page.locator("#tape-list li")).to_have_count(2)
    page.fill("#tape-filter", "")
    picture(page, "page-tape")
    page.context.close()


def a_text_can_be_tried(browser):
    page = visitor(browser, token=VIEWER)
    go(page, "try")
    page.fill("#try-text", "Harbourline Bank shares plunge as depositors withdraw funds, write to jo@desk.example")
    page.click("#try-form button")
    verdict = page.locator(".verdict")
    expect(verdict).to_contain_text("negative")
    assert page.locator(".reading mark").count() >= 1
    expect(page.locator(".reading")).to_contain_text("[EMAIL]")
    expect(page.locator("[data-slot=masked]")).to_have_text("email 1")
    assert "Harbourline Bank" in page.locator("[data-slot=subjects]").inner_text()
    page.fill("#try-text", HOSTILE)
    page.click("#try-form button")
    expect(page.locator(".reading .large")).to_contain_text("<script>")
    page.fill("#try-text", "   ")
    page.click("#try-form button")
    expect(page.locator("#try-refused")).to_contain_text("neither title nor body has text")
    page.context.close()


def health_is_told(browser):
    page = visitor(browser)
    go(page, "health")
    expect(page.locator("#state-line")).to_have_text("Healthy")
    expect(page.locator("#roles tr")).to_have_count(2)
    expect(page.locator("#dead-letters tr")).to_have_count(8)
    expect(page.locator("#model")).to_contain_text("on cpu")
    # A server that stands still is noticed, and so is its return.
    os.kill(PROCESS, signal.SIGSTOP)
    try:
        expect(page.locator("#connection")).to_contain_text("No update for 5 seconds.")
    finally:
        os.kill(PROCESS, signal.SIGCONT)
    expect(page.locator("#connection")).to_be_empty()
    page.context.close()


def hostile_news_does_nothing(browser):
    page = visitor(browser)
    data = snapshot()
    assert any(item["title"] == HOSTILE for item in data["tape"]), "it is on the tape"
    evil = [alert for alert in data["alerts"]["open"] if any(item["title"] == HOSTILE for item in alert["evidence"])]
    assert evil, "it is evidence of an alert"
    go(page, f"alert/{evil[0]['id']}")
    expect(page.locator("#alert-view .evidence").first).to_contain_text(HOSTILE)
    go(page, "tape")
    page.fill("#tape-filter", "<script>")
    expect(page.locator("#tape-list li").first).to_contain_text(HOSTILE)
    expect(page.locator("#tape-list li").first).to_contain_text("<b onclick=alert(")
    inside = "document.querySelectorAll('main script, main img, main iframe, main [onclick], main [onerror], a[href^=javascript]').length"
    assert page.evaluate(inside) == 0
    assert "owned" not in page.title()
    page.context.close()


def it_speaks_chinese_and_looks_as_one_likes(browser):
    page = visitor(browser, locale="zh-CN")
    expect(page.locator("#alerts-heading")).to_contain_text("未解除的警报")
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    picture(page, "page-chinese")
    page.click("#alert-list h3 a:text-is('Regional banks')")
    assert re.search(r"分钟内，关于Regional banks的 \d+ 条新闻中有 \d+ 条负面", page.locator("#alert-view .sentence").inner_text())
    left = page.evaluate("[...document.querySelectorAll('[data-word]')].filter(node => !/[\\u4e00-\\u9fff]/.test(node.textContent) && /[a-z]{3}/i.test(node.textContent)).map(node => node.textContent)")
    assert left == [], f"not in Chinese: {left}"
    page.select_option("#language", "en")
    expect(page.locator("#alerts-heading")).to_contain_text("Open alerts")
    page.select_option("#theme", "dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.reload()
    page.wait_for_selector("#subject-rows tr")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark != "rgb(238, 240, 243)", "it is remembered"
    expect(page.locator("#alerts-heading")).to_contain_text("Open alerts")
    page.context.close()


def everybody_can_use_it(browser):
    """No serious finding by axe-core, and nothing to scroll sideways for, on a desk's screen and on the narrowest phone, light and dark."""
    alert = snapshot()["alerts"]["open"][0]["id"]
    for width, height, scheme in [(1440, 900, "light"), (1440, 900, "dark"), (360, 740, "light"), (360, 740, "dark")]:
        page = visitor(browser, width=width, height=height, scheme=scheme)
        for place in [*VIEWS, f"alert/{alert}"]:
            go(page, place)
            if place == "try":
                page.click("#try-form button")
                page.wait_for_selector(".reading")
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{place} at {width} px is {wide} px wide"
            found = axe(page)
            assert found == [], f"{place} at {width} px, {scheme}: {found}"
            if place == "market" and scheme == "dark" and width < 1000:
                picture(page, "page-phone")
        page.context.close()


# ---- help ----


def axe(page: Page) -> list:
    violations = Axe().run(page).response["violations"]
    return [f"{found['id']} ({found['impact']}): {found['nodes'][0]['html'][:200]}" for found in violations if found["impact"] in ("serious", "critical")]


def wait_until(there, what: str):
    for _ in range(200):
        if there():
            return
        time.sleep(0.1)
    raise AssertionError(f"waited 20 s for {what}")


def main():
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium") or sys.exit("no chromium: `make test` installs it"), args=SWITCHES)
        for chapter in [
            who_may_come_in,
            the_desk_sees_what_changed_most,
            an_alert_says_why,
            operators_act_and_all_see_it,
            hostile_news_does_nothing,
            a_text_can_be_tried,
            it_speaks_chinese_and_looks_as_one_likes,
            everybody_can_use_it,
            the_tape_runs_and_can_be_searched,
            health_is_told,
        ]:
            if PICTURES and chapter is hostile_news_does_nothing:
                continue
            began = time.monotonic()
            chapter(browser)
            assert complaints == [], f"{chapter.__name__}: {complaints}"
            print(f"{chapter.__name__.replace('_', ' ')}: ok, {time.monotonic() - began:.1f} s", flush=True)
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
