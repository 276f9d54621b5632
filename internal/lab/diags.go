package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DiagsTool is where the agent's diagnostics tool is on a machine.
const DiagsTool = "/usr/bin/microsoft/az-aoi-ingestion-gather-diags"

// gatherDiags is its stand-in among the fleet's tools.
const gatherDiags = "agent/gather-diags"

// DiagsStandIn is the stand-in as a program, for machines that are not the lab's:
// it reads how to misbehave from /etc/aoi-standin/diags.
func DiagsStandIn() ([]byte, error) { return standins.ReadFile("standin/gather-diags") }

// needsHow checks the argument of the fault diags.
func needsHow(argument string) error {
	how, _, _ := strings.Cut(argument, " ")
	if !slices.Contains([]string{"missing", "hangs", "fails", "garbage", "none", "two", "link", "large"}, how) {
		return fmt.Errorf("is missing, hangs, fails TEXT, garbage, none, two, link or large BYTES")
	}
	return needsText(argument)
}

// layDiags brings the tool into line with the faults. It is linked, not written:
// see layPrograms.
func (m *Machine) layDiags() error {
	how, wrong := m.faults.get(faultDiags)
	tool, file := m.inRoot(DiagsTool), filepath.Join(m.dir, "diags")
	if how == "missing" {
		return remove(tool)
	}
	errs := []error{os.MkdirAll(filepath.Dir(tool), 0o755)}
	if wrong {
		errs = append(errs, replaceFile(file, how+"\n"))
	} else {
		errs = append(errs, remove(file))
	}
	if _, err := os.Lstat(tool); err != nil {
		errs = append(errs, replaceLink(tool, filepath.Join(m.fleet.tools.dir, gatherDiags)))
	}
	return errors.Join(errs...)
}

// remove removes a file that may be missing.
func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
