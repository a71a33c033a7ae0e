//! A headless Chromium for one test, driven over WebDriver.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use thirtyfour::prelude::*;
use tokio::process::Command;

use crate::support::child::ChildProcess;
use crate::support::needs::Chromium;

/// The longest that anything may take to show on the page.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// More than the buttons of any view.
const FEW_TABS: usize = 8;

/// How the page is looked at.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) width: u32,
    pub(crate) dark: bool,
}

/// A desktop window on a bright day.
pub(crate) const LIGHT: Look = Look { width: 1100, dark: false };
/// A desktop window at night.
pub(crate) const DARK: Look = Look { width: 1100, dark: true };
/// The narrowest phone in use.
pub(crate) const NARROW: Look = Look { width: 320, dark: false };
/// The narrowest phone in use at night, and a desktop window enlarged to 400 %.
pub(crate) const NARROW_DARK: Look = Look { width: 320, dark: true };

/// The browser. Field order matters: the session ends before its driver does.
pub(crate) struct Browser {
    driver: WebDriver,
    _chromedriver: ChildProcess,
    _profile: tempfile::TempDir,
}

/// Starts chromedriver and gives its port. It takes a free one of IPv4 first and then the same of
/// IPv6, and ends where another program has that one.
async fn drive(chromium: &Chromium) -> (ChildProcess, u16) {
    for _ in 0..8 {
        let mut driver = ChildProcess::start(Command::new(&chromium.driver).arg("--port=0"));
        if let Some(port) = driver.prints_or_ends("started successfully on port ").await {
            return (driver, port.trim_end_matches('.').parse().unwrap());
        }
    }
    panic!("chromedriver tells no port");
}

impl Browser {
    pub(crate) async fn start(chromium: &Chromium) -> Self {
        let (chromedriver, port) = drive(chromium).await;
        let profile = tempfile::tempdir().unwrap();
        let mut wanted = DesiredCapabilities::chrome();
        wanted.set_binary(&chromium.browser.to_string_lossy()).unwrap();
        for flag in [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ] {
            wanted.add_arg(flag).unwrap();
        }
        wanted.add_arg(&format!("--user-data-dir={}", profile.path().display())).unwrap();
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), wanted).await.unwrap();
        let browser = Self { driver, _chromedriver: chromedriver, _profile: profile };
        browser.look(LIGHT).await;
        browser
    }

    pub(crate) async fn open(&self, url: &str) {
        self.driver.goto(url).await.unwrap();
    }

    /// Opens a new tab, which is looked at from then on; what it is known by.
    pub(crate) async fn new_tab(&self, url: &str) -> WindowHandle {
        let tab = self.driver.new_tab().await.unwrap();
        self.driver.switch_to_window(tab.clone()).await.unwrap();
        self.open(url).await;
        tab
    }

    /// Opens a copy of the tab that is looked at, as browsers do; what it is known by.
    pub(crate) async fn copy_tab(&self) -> WindowHandle {
        let before = self.driver.windows().await.unwrap();
        self.run("open(location.href)").await;
        loop {
            let now = self.driver.windows().await.unwrap();
            if let Some(tab) = now.into_iter().find(|tab| !before.contains(tab)) {
                self.turn_to(&tab).await;
                return tab;
            }
        }
    }

    /// The tab that is looked at.
    pub(crate) async fn tab(&self) -> WindowHandle {
        self.driver.window().await.unwrap()
    }

    pub(crate) async fn turn_to(&self, tab: &WindowHandle) {
        self.driver.switch_to_window(tab.clone()).await.unwrap();
    }

    /// Closes the tab that is looked at, and looks at another.
    pub(crate) async fn close_tab(&self, next: &WindowHandle) {
        self.driver.close_window().await.unwrap();
        self.turn_to(next).await;
    }

    /// Changes the window's width and the colour scheme.
    pub(crate) async fn look(&self, look: Look) {
        let scheme = if look.dark { "dark" } else { "light" };
        let metrics = json!({
            "width": look.width, "height": 900, "deviceScaleFactor": 1, "mobile": false,
        });
        let media = json!({
            "features": [
                { "name": "prefers-color-scheme", "value": scheme },
                { "name": "prefers-reduced-motion", "value": "reduce" },
            ],
        });
        self.tell("Emulation.setDeviceMetricsOverride", metrics).await;
        self.tell("Emulation.setEmulatedMedia", media).await;
    }

    /// A command of the DevTools protocol.
    pub(crate) async fn tell(&self, command: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(command, parameters).await.unwrap()
    }

    /// Waits for an element that matches and is displayed.
    pub(crate) async fn see(&self, css: &str) -> WebElement {
        loop {
            let query = self.driver.query(By::Css(css)).wait(PATIENCE, LOOK_AGAIN).and_displayed();
            match query.first().await {
                Ok(element) => return element,
                // The page put another in its place while it was looked at.
                Err(error) if error.to_string().contains("stale element") => {}
                Err(error) => panic!("{css} does not show: {error}"),
            }
        }
    }

    /// Waits for an element of this selector that reads exactly so.
    pub(crate) async fn read(&self, css: &str, text: &str) {
        loop {
            let query = self.driver.query(By::Css(css)).wait(PATIENCE, LOOK_AGAIN);
            match query.and_displayed().with_text(text.to_owned()).first().await {
                Ok(_) => return,
                Err(error) if error.to_string().contains("stale element") => {}
                Err(_) => panic!("{css} does not read {text:?} but {:?}", self.text(css).await),
            }
        }
    }

    /// Goes back, as the person does by the browser's button, and waits for the page.
    pub(crate) async fn back(&self) {
        self.driver.back().await.unwrap();
    }

    /// What an element reads now, shown or not.
    pub(crate) async fn text(&self, css: &str) -> String {
        let text = self.driver.find(By::Css(css)).await.unwrap().prop("textContent").await;
        text.unwrap().unwrap_or_default()
    }

    /// Whether an element is there and shown now.
    pub(crate) async fn shows(&self, css: &str) -> bool {
        self.driver.find(By::Css(css)).await.unwrap().is_displayed().await.unwrap()
    }

    /// Waits until an element is shown no more.
    pub(crate) async fn gone(&self, css: &str) {
        let query = self.driver.query(By::Css(css)).wait(PATIENCE, LOOK_AGAIN).and_not_displayed();
        query.first().await.unwrap_or_else(|error| panic!("{css} still shows: {error}"));
    }

    /// Whether there is such an element now.
    pub(crate) async fn has(&self, css: &str) -> bool {
        !self.driver.find_all(By::Css(css)).await.unwrap().is_empty()
    }

    pub(crate) async fn click(&self, css: &str) {
        self.see(css).await.click().await.unwrap();
    }

    /// What the window's tab reads.
    pub(crate) async fn title(&self) -> String {
        self.driver.title().await.unwrap()
    }

    /// The id of the element that the keyboard talks to.
    pub(crate) async fn focused(&self) -> String {
        self.driver.active_element().await.unwrap().id().await.unwrap().unwrap_or_default()
    }

    /// Whether the keyboard talks to what matches.
    pub(crate) async fn focus_is_on(&self, css: &str) -> bool {
        self.run(&format!("return document.activeElement.matches({css:?})")).await == true
    }

    /// Goes from element to element by Tab until one matches, and presses Enter there; where the
    /// keyboard is must be seen all the way.
    pub(crate) async fn enter(&self, css: &str) {
        for _ in 0..FEW_TABS {
            self.press(Key::Tab).await;
            // Between the last element and the first, the keyboard talks to none.
            let unseen = "const at = document.activeElement;
                          return at !== document.body && getComputedStyle(at).outlineStyle === 'none'";
            assert_eq!(self.run(unseen).await, false, "the way to {css} can be seen");
            if self.focus_is_on(css).await {
                return self.press(Key::Enter).await;
            }
        }
        panic!("{css} is not within {FEW_TABS} presses of Tab");
    }

    pub(crate) async fn press(&self, key: Key) {
        self.driver.action_chain().send_keys(key).perform().await.unwrap();
    }

    /// What a script on the page gives back.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.driver.execute(script, Vec::new()).await.unwrap().json().clone()
    }

    /// Every cookie that the page's server would be sent, as the browser keeps it.
    pub(crate) async fn cookies(&self) -> serde_json::Value {
        let kept = self.driver.cdp().send_raw("Network.getCookies", json!({})).await.unwrap();
        kept["cookies"].clone()
    }

    /// Keeps the whole page as a picture under `target/artifacts/`.
    pub(crate) async fn keep_picture(&self, name: &str) {
        let arguments = json!({ "format": "png", "captureBeyondViewport": true });
        let answer = self.tell("Page.captureScreenshot", arguments).await;
        let encoded = answer["data"].as_str().unwrap();
        let png = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded);
        std::fs::write(artifacts().join(format!("{name}.png")), png.unwrap()).unwrap();
    }

    pub(crate) async fn quit(self) {
        self.driver.quit().await.unwrap();
    }
}

fn artifacts() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_fido-relay")).ancestors().nth(2).unwrap();
    let folder = target.join("artifacts");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
