// Package browser shows pages in Chromium, for tests.
package browser

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// Page is a page in a Chromium without a window. It has no network. Commands go through a pipe:
// https://chromedevtools.github.io/devtools-protocol, --remote-debugging-pipe.
type Page struct {
	t       *testing.T
	in      io.Writer
	out     *bufio.Reader
	session string
	number  int
}

// Open shows the file at path. Without Chromium the test is skipped, but fails in CI.
func Open(t *testing.T, path string) *Page {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = theirIn.Close(), theirOut.Close()
	p := &Page{t: t, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		p.session = ""
		p.Do("Browser.close", nil)
		_ = cmd.Wait()
	})
	target := p.Do("Target.createTarget", map[string]any{"url": "about:blank"})["targetId"]
	p.session = fmt.Sprint(p.Do("Target.attachToTarget", map[string]any{"targetId": target, "flatten": true})["sessionId"])
	p.Do("Page.enable", nil)
	p.Do("Network.enable", nil)
	p.Do("Network.emulateNetworkConditions", map[string]any{"offline": true, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})
	p.send("Page.navigate", map[string]any{"url": "file://" + path})
	for p.read()["method"] != "Page.loadEventFired" {
	}
	return p
}

// Do sends a command and returns its result.
func (p *Page) Do(method string, params map[string]any) map[string]any {
	p.t.Helper()
	id := p.send(method, params)
	for {
		m := p.read()
		if m["id"] != float64(id) {
			continue
		}
		if m["error"] != nil {
			p.t.Fatalf("%s: %v", method, m["error"])
		}
		result, _ := m["result"].(map[string]any)
		return result
	}
}

// Eval runs a script and returns its value as text.
func (p *Page) Eval(script string) string {
	p.t.Helper()
	r := p.Do("Runtime.evaluate", map[string]any{"expression": script, "returnByValue": true})
	if r["exceptionDetails"] != nil {
		p.t.Fatalf("%s: %v", script, r["exceptionDetails"])
	}
	return fmt.Sprint(r["result"].(map[string]any)["value"])
}

// Picture returns the whole page as PNG, with a window of that width, in dark or light colours.
func (p *Page) Picture(width, height int, dark bool) []byte {
	p.t.Helper()
	scheme := map[bool]string{true: "dark", false: "light"}[dark]
	p.Do("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
	p.Do("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false})
	return p.data(p.Do("Page.captureScreenshot", map[string]any{"format": "png"}))
}

// PDF returns the page as it is printed on A4.
func (p *Page) PDF() []byte {
	p.t.Helper()
	return p.data(p.Do("Page.printToPDF", map[string]any{"preferCSSPageSize": true, "printBackground": true}))
}

func (p *Page) data(result map[string]any) []byte {
	data, err := base64.StdEncoding.DecodeString(fmt.Sprint(result["data"]))
	if err != nil {
		p.t.Fatal(err)
	}
	return data
}

func (p *Page) send(method string, params map[string]any) int {
	p.number++
	message := map[string]any{"id": p.number, "method": method, "params": params}
	if p.session != "" {
		message["sessionId"] = p.session
	}
	text, err := json.Marshal(message)
	if err == nil {
		_, err = p.in.Write(append(text, 0))
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return p.number
}

// read returns the next message: the answer to a command, or an event.
func (p *Page) read() (m map[string]any) {
	text, err := p.out.ReadBytes(0)
	if err == nil {
		err = json.Unmarshal(text[:len(text)-1], &m)
	}
	if err != nil {
		p.t.Fatal("chromium: ", err)
	}
	return m
}
