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

// helperProtocol is the version of the protocol with an installed helper. It changes when
// the program can no longer work with an earlier script.
const helperProtocol = "2"

// HelperVersion returns the version of host.sh, a hash of its text; a helper reports its own.
var HelperVersion = sync.OnceValue(func() string {
	sum := sha256.Sum256([]byte(Script()))
	return hex.EncodeToString(sum[:6])
})

// Installed is the result of InstallHelper.
type Installed struct {
	Changed bool     // false: this version was already installed
	Notes   []string // for the operator
}

// InstallHelper installs host.sh at HelperPath, and writes helper.conf if the host's agent
// settings are not the defaults. It needs the right to run any command as root, and does
// not use the helper itself.
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

// checkHelper returns an error for a helper that this program can't use, and a note for
// one of another version.
func (v *VM) checkHelper(f *found) (note string, err error) {
	if !v.helper() {
		return "", nil
	}
	return helperProblem(f)
}

// oldHelper returns the problem of a helper that does not know a verb or a value.
func oldHelper() *problem.Error {
	return &problem.Error{Class: problem.Configuration, Message: "the helper on the host is too old for this", Hint: "aoifleet install-helper"}
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
			Message: "the helper on the host has a version that this program can't use",
			Hint:    again}
	case version != HelperVersion():
		return "the helper on the host has another version than this program; to update it: " + again, nil
	}
	return "", nil
}
