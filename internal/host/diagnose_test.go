package host

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

func TestAnnounced(t *testing.T) {
	sum := strings.Repeat("0a", sha256.Size)
	for text, want := range map[string]bool{
		"1 " + sum: true, "1000 " + sum: true, "1001 " + sum: false, "0 " + sum: false, "-1 " + sum: false,
		"": false, "1": false, " " + sum: false, "x " + sum: false, "1  " + sum: false, "1 " + sum + " ": false,
		"1 " + sum[2:]: false, "1 " + strings.ToUpper(sum): false, "1 " + strings.Repeat("zz", 32): false,
		"99999999999999999999 " + sum: false,
	} {
		c := &collection{Diagnosis: Diagnosis{MaxSize: 1000}}
		if got := c.announced(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space\x1b[2J left") }

func TestArrival(t *testing.T) {
	var came bytes.Buffer
	var reported []int64
	a := &arrival{To: &came, digest: sha256.New(), total: 8, progress: func(done, total int64) { reported = append(reported, done, total) }}
	for _, part := range []string{"PK12", "3456"} {
		if n, err := a.Write([]byte(part)); n != 4 || err != nil {
			t.Fatal(n, err)
		}
	}
	if came.String() != "PK123456" || len(reported) != 4 || reported[2] != 8 || reported[3] != 8 {
		t.Errorf("%q %v", came.String(), reported)
	}
	if err := a.verdict(nil, sumOf("PK123456")); err != nil {
		t.Error(err)
	}
	if p := AsProblem(a.verdict(nil, sumOf("PK123457"))); p.Class != problem.Command || !strings.Contains(p.Message, "arrived incomplete") {
		t.Errorf("%+v", p)
	}
	lost := &problem.Error{Class: problem.Unreachable}
	if err := a.verdict(lost, sumOf("PK123456")); err != lost {
		t.Error(err)
	}
	a = &arrival{To: fullDisk{}, digest: sha256.New()}
	_, _ = a.Write([]byte("PK"))
	if p := AsProblem(a.verdict(nil, sumOf(""))); p.Class != problem.Disk || strings.Contains(p.Message, "\x1b") {
		t.Errorf("%+v", p)
	}
}

// TestDiagnosisValues: as_root only if it is requested.
func TestDiagnosisValues(t *testing.T) {
	v := &VM{}
	if slices.Contains(v.diagnosisValues(Diagnosis{}), value{"as_root", "yes"}) || !slices.Contains(v.diagnosisValues(Diagnosis{AsRoot: true}), value{"as_root", "yes"}) {
		t.Errorf("%v", v.diagnosisValues(Diagnosis{AsRoot: true}))
	}
}

// TestDiagnosisHints names --as-root where it may help.
func TestDiagnosisHints(t *testing.T) {
	for said, want := range map[string][2]string{ // without the helper, with it
		"command the agent's tool failed as user agent (exit status 1): x":     {"--as-root", "diagnostics=root in /etc/aoifleet/helper.conf"},
		"command the agent's tool wrote no zip as user agent":                  {"--as-root", "diagnostics=root"},
		"command the agent's tool failed (exit status 1): x":                   {"", ""},
		"configuration the host allows no diagnostics as root (conf)":          {"omit --as-root", "omit --as-root"},
		"configuration the host has no /usr/bin/az-aoi-ingestion-gather-diags": {"the agent's package", "the agent's package"},
	} {
		for i, helper := range []string{"", HelperPath} {
			c := &collection{vm: &VM{host: inventory.Host{Helper: helper, Sudo: inventory.SudoPasswordless}}, out: bufio.NewReader(strings.NewReader("error=" + said + "\nresult=refused\n"))}
			_, err := c.hear("zip")
			if hint := AsProblem(err).Hint; !strings.Contains(hint, want[i]) || want[i] == "" && hint != "" {
				t.Errorf("%s, helper %q: %q", said, helper, hint)
			}
		}
	}
}

// FuzzHear: any output of a host is either valid or an error, and no error contains a
// control character.
func FuzzHear(f *testing.F) {
	for _, text := range []string{
		"zip=5 " + strings.Repeat("0a", 32) + "\n", "error=configuration the host has no gather-diags\nresult=refused\n",
		"error=command the tool failed as user x\nresult=refused\n", "result=none\n", "zip=", "error=\nresult=refused\n", "result=refused\n", strings.Repeat("x", 70000), "\x00\x1b[2J=\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		// Never ends: at the end of the output hear would wait for the process.
		endless := io.MultiReader(strings.NewReader(text), strings.NewReader("\n"+strings.Repeat("x", 70000)))
		c := &collection{vm: &VM{}, out: bufio.NewReader(endless), Diagnosis: Diagnosis{MaxSize: 1000}}
		key, err := c.hear("zip", "none")
		switch {
		case err == nil && key == "zip" && (c.zip.Size < 1 || c.zip.Size > 1000 || len(c.zip.SHA256) != 64):
			t.Errorf("%+v", c.zip)
		case err == nil && key != "zip" && key != "none":
			t.Errorf("got %q", key)
		case err != nil && strings.ContainsAny(err.Error(), "\x1b\x00\n"):
			t.Errorf("%q", err)
		}
	})
}
