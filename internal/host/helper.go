package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// helperProtocol is the number of the conversation with an installed helper. It
// changes when a program can no longer work with an earlier script.
const helperProtocol = "2"

// HelperVersion names the text of host.sh, as the helper on a host does.
var HelperVersion = sync.OnceValue(func() string {
	sum := sha256.Sum256([]byte(Script()))
	return hex.EncodeToString(sum[:6])
})

// Installed is what InstallHelper found and did.
type Installed struct {
	Changed bool     // false: this version was there already
	Notes   []string // what else a person should know
}

// InstallHelper puts host.sh at HelperPath, and beside it what the host's agent
// settings are where they are not the defaults. It needs the right to run any
// command as root, and does not use the helper itself.
func (v *VM) InstallHelper(ctx context.Context) (Installed, error) {
	agent := v.host.Agent
	full := New(v.conn, v.host, v.run, v.password)
	full.host.Helper, full.hurry = "", v.hurry
	values := append(full.common(), value{"config", agent.Config}, value{"path", agent.CertificatePath}, value{"new", HelperVersion()})
	out, err := full.do(ctx, stageTimeout, "install", values)
	if err != nil {
		return Installed{}, err
	}
	f := parseFound(out)
	if msg, ok := f.fields["error"]; ok {
		return Installed{}, hostSaid(msg)
	}
	result := f.fields["result"]
	if result != "installed" && result != "current" {
		return Installed{}, cutShort(out)
	}
	i := Installed{Changed: result == "installed"}
	if note, ok := f.fields["note"]; ok {
		i.Notes = []string{display.Sanitise(note, 600)}
	}
	return i, nil
}

// checkHelper refuses a helper that this program can't talk to. note is what a
// person should know of one that it can.
func (v *VM) checkHelper(f *found) (note string, err error) {
	if !v.helper() {
		return "", nil
	}
	return helperProblem(f)
}

func helperProblem(f *found) (note string, err error) {
	protocol, version, _ := strings.Cut(f.fields["helper"], " ")
	const again = "aoifleet install-helper"
	switch {
	case protocol == "":
		return "", &problem.Error{Class: problem.Configuration,
			Message: HelperPath + " on the host is not aoifleet's helper",
			Hint:    again}
	case protocol != helperProtocol:
		return "", &problem.Error{Class: problem.Configuration,
			Message: "the helper on the host is of a version that this program can't work with",
			Hint:    again}
	case version != HelperVersion():
		return "the helper on the host is of another version than this program; to bring it up to date: " + again, nil
	}
	return "", nil
}
