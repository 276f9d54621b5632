package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/test/browser"
)

func opened(t *testing.T, r *Report) *browser.Page {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(written(t, r, "html")), 0o600); err != nil {
		t.Fatal(err)
	}
	return browser.Open(t, path)
}

// The picture of the documents is what the program shows. It is written anew with
// AOIFLEET_WRITE_DOCS: its bytes depend on the fonts of the machine.
func TestPictureOfReport(t *testing.T) {
	d := rotation(60)
	d.Warnings, d.ExitCode = nil, problem.ExitRolledBack
	d.Hosts = d.Hosts[:59] // the last one has failed
	picture := opened(t, Of(d)).Picture(1200, 1000, false)
	if len(picture) > 200_000 || len(picture) < 20_000 {
		t.Errorf("%d bytes", len(picture))
	}
	if os.Getenv("AOIFLEET_WRITE_DOCS") != "" {
		if err := os.WriteFile(filepath.Join("..", "..", "docs", "screens", "report.png"), picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The page works in a browser: tabs, the filter, and without any script of a host. Its policy
// lets its own style and script run and nothing else.
func TestReportInBrowser(t *testing.T) {
	d := rotation(50)
	for i := range d.Hosts {
		d.Hosts[i].Reason, d.Hosts[i].Notes = hostile, []string{hostile}
	}
	d.Hosts[0].Name, d.Hosts[1].Site = hostile, `"><script>document.title = "hacked"</script>`
	p := opened(t, Of(d))
	is := func(script, want string) {
		t.Helper()
		if got := p.Eval(script); got != want {
			t.Errorf("%s: %q, not %q", script, got, want)
		}
	}
	const shown = `[...document.querySelectorAll("section")].filter(s => s.checkVisibility()).map(s => s.id).join(" ")`
	is(`document.title`, "aoifleet rotate: Some hosts need an operator")
	is(`document.querySelectorAll("script").length + " " + document.querySelectorAll("img, a, iframe, object, link, form").length`, "1 0")
	is(shown, "overview")
	is(`getComputedStyle(document.querySelector(".verdict")).borderLeftWidth`, "6px") // the style runs
	p.Eval(`[...document.querySelectorAll("nav button")].find(b => b.textContent.startsWith("Failures")).click()`)
	is(shown, "failures")
	p.Eval(`[...document.querySelectorAll("nav button")].find(b => b.textContent.startsWith("Hosts")).click()`)
	is(shown+` + " " + location.hash`, "hosts #hosts")
	const rows = `[...document.querySelectorAll("#hosts tbody tr")].filter(r => r.checkVisibility()).length + ", " + document.querySelector("#count").textContent`
	is(rows, "50, 50 of 50")
	p.Eval(`s = document.querySelector("#search"); s.value = "PARIS rolled_back"; s.dispatchEvent(new Event("input"))`)
	is(rows, "2, 2 of 50")
	p.Eval(`s.value = ""; s.dispatchEvent(new Event("input")); [...document.querySelectorAll(".filter button")].find(b => b.value === "skipped").click()`)
	is(rows, "15, 15 of 50")
	p.Eval(`document.body.insertAdjacentHTML("beforeend", "<p id=styled style='color: rgb(1, 2, 3)'>x</p>"); e = document.createElement("script"); e.textContent = "document.title = 'hacked'"; document.body.append(e)`)
	is(`getComputedStyle(document.querySelector("#styled")).color === "rgb(1, 2, 3)"`, "false")
	is(`document.title`, "aoifleet rotate: Some hosts need an operator")
	if pdf := p.PDF(); len(pdf) < 10_000 {
		t.Errorf("the PDF has %d bytes", len(pdf))
	}
}

// A report of a large fleet stays a size that a browser opens at once (test/bench measures that).
func TestSizeOfReport(t *testing.T) {
	text := written(t, Of(rotation(3000)), "html")
	if len(text) > 5<<20 || strings.Count(text, "<tr data-label") != 3000 {
		t.Errorf("%d bytes", len(text))
	}
	for _, outside := range []string{"http://", "https://", "src=", "@import", "url("} {
		if rest := strings.ReplaceAll(text, "http://evil.example", ""); strings.Contains(strings.ReplaceAll(rest, "img src=x", ""), outside) {
			t.Errorf("it has %q", outside)
		}
	}
}
