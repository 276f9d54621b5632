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

// DiagsTool is the path of the agent's diagnostics tool on a machine.
const DiagsTool = "/usr/bin/microsoft/az-aoi-ingestion-gather-diags"

// gatherDiags is the path of its stand-in in the fleet's tools.
const gatherDiags = "agent/gather-diags"

// DiagsStandIn returns the stand-in as a program for machines outside the lab. It
// reads its misbehaviour from /etc/aoi-standin/diags.
func DiagsStandIn() ([]byte, error) { return standins.ReadFile("standin/gather-diags") }

// needsHow checks the argument of the fault "diags".
func needsHow(argument string) error {
	how, _, _ := strings.Cut(argument, " ")
	if !slices.Contains([]string{"missing", "hangs", "fails", "garbage", "none", "two", "link", "large"}, how) {
		return fmt.Errorf("is missing, hangs, fails TEXT, garbage, none, two, link or large BYTES")
	}
	return needsText(argument)
}

// linkDiags updates the tool for the faults. The tool is linked, not written:
// see linkPrograms.
func (m *Machine) linkDiags() error {
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
