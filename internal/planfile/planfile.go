// Package planfile reads and writes the file of a saved plan: the observed state of
// each host and the action planned for it. A reviewer approves the file, and another
// process then carries out exactly that plan. The file contains no secret.
package planfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// SchemaVersion is the version of the format. An unknown key is an error: it may ask
// for something that this program does not do. Version 1 had no digest.
const SchemaVersion = 2

// Kind is the value of "kind" that marks a saved plan among other JSON files.
const Kind = "aoifleet-plan"

// MaxSize is the size limit of a plan, in bytes. A host takes about one kilobyte.
const MaxSize = 64 << 20

// Plan is a saved plan.
type Plan struct {
	SchemaVersion int           `json:"schema_version"`
	Kind          string        `json:"kind"`
	ToolVersion   string        `json:"tool_version"`
	PlanID        string        `json:"plan_id"`
	Digest        string        `json:"digest"` // of everything else, see ID; set by Write
	CreatedAt     time.Time     `json:"created_at"`
	ExpiresAt     *time.Time    `json:"expires_at,omitempty"` // from then on it is refused; null: never
	Owner         string        `json:"owner"`                // USER@HOST that made it
	Inventory     Inventory     `json:"inventory"`
	Certificate   string        `json:"certificate,omitempty"` // the source for all hosts, as it was named; "": the inventory's
	Certificates  []Certificate `json:"certificates"`
	Policy        Policy        `json:"policy"`
	Command       string        `json:"command,omitempty"`       // that carries it out: configure, upgrade; "": rotate
	To            string        `json:"to,omitempty"`            // of an upgrade: the version as it was named
	Edits         []string      `json:"edits,omitempty"`         // of each agent's configuration, one expression each
	Configuration bool          `json:"configuration,omitempty"` // the inventory's files become the agents' configurations
	Diffs         [][]string    `json:"diffs,omitempty"`         // of Host.Files, each once, as lines
	Hosts         []Host        `json:"hosts"`                   // in the inventory's order
}

// Inventory is the inventory file that the plan was made from.
type Inventory struct {
	File   string `json:"file"` // as it was named; the path may change, the digest not
	SHA256 string `json:"sha256"`
}

// Certificate is a certificate to install.
type Certificate struct {
	Thumbprint string    `json:"thumbprint"`
	Subject    string    `json:"subject"`
	NotAfter   time.Time `json:"not_after"`
	FileSHA256 string    `json:"file_sha256"` // of the installed file
}

// Policy is how the plan is carried out.
type Policy struct {
	Parallel         int    `json:"parallel"`
	MaxFailures      string `json:"max_failures"` // as the inventory has it: "1", "10%"
	CountUnreachable bool   `json:"count_unreachable"`
	Force            bool   `json:"force"`
	Deadman          bool   `json:"deadman"`
	Canary           int    `json:"canary"`
	Batch            string `json:"batch"` // as the inventory has it: "1, 10%, 100%"
	Soak             string `json:"soak"`  // "1m0s"
	MaxUnavailable   string `json:"max_unavailable_per"`
	Verify           string `json:"verify"` // check with Azure before the run: none, entra, skipped

	Windows      []string `json:"windows,omitempty"` // one for each of the inventory
	Freezes      []string `json:"freezes,omitempty"`
	IgnoreWindow string   `json:"ignore_window,omitempty"` // why they do not hold; "": they do

	RequireProof string `json:"require_proof,omitempty"` // uploaded, log_clean; "": none
}

// Host is one host of the plan. Outcome is set if nothing is to be done.
type Host struct {
	Name    string         `json:"name"`
	Address string         `json:"address"`
	Wave    *int           `json:"wave"`
	Action  string         `json:"action"`
	Reason  string         `json:"reason"`
	Outcome string         `json:"outcome,omitempty"`
	Error   *problem.Error `json:"error,omitempty"`
	New     *New           `json:"new"`
	Files   []HostFile     `json:"files,omitempty"`
	Package *Package       `json:"package,omitempty"`
	Seen    *Seen          `json:"seen"` // null: it could not be observed
}

// HostFile is a file that a host is to have besides its certificate.
type HostFile struct {
	What string `json:"what"` // configuration
	File        // as it was seen
	New  string `json:"new_sha256"`
	Diff *int   `json:"diff,omitempty"` // the index of its difference in Plan.Diffs; null: it has none
	// Remarks are the findings with which it is to be installed, such as a danger with --force.
	Remarks []string `json:"remarks,omitempty"`
}

// Package is the agent's package on a host.
type Package struct {
	Name    string `json:"name"`
	Manager string `json:"manager"` // apt, dnf, yum
	Old     string `json:"old"`     // version, as the manager writes it; "": the package is not installed
	New     string `json:"new"`     // "": the host's repositories do not have the version
}

// New is the certificate to install on a host.
type New struct {
	Thumbprint string `json:"thumbprint"`
	FileSHA256 string `json:"file_sha256"`
}

// Seen is the observed state of a host.
type Seen struct {
	HostKey    string `json:"host_key"` // fingerprint, SHA256:…
	Provider   string `json:"provider"` // "": managed identity
	ClientID   string `json:"client_id"`
	File       File   `json:"file"`
	Live       *Live  `json:"live"` // null: unknown
	Unit       Unit   `json:"unit"`
	Unfinished string `json:"unfinished,omitempty"` // id of a run that was interrupted on the host
}

// File is a file on a host.
type File struct {
	Path   string `json:"path"` // with symlinks resolved
	SHA256 string `json:"sha256"`
	Owner  string `json:"owner"` // user:group
	Mode   string `json:"mode"`
}

// Live is the certificate in that file.
type Live struct {
	Thumbprint string    `json:"thumbprint"`
	NotAfter   time.Time `json:"not_after"`
}

// Unit is the agent's unit.
type Unit struct {
	Name   string `json:"name"`
	Load   string `json:"load_state"`
	Active string `json:"active_state"`
	File   string `json:"unit_file_state"`
}

// Expired reports whether the plan may no longer be carried out.
func (p *Plan) Expired(now time.Time) bool { return p.ExpiresAt != nil && !now.Before(*p.ExpiresAt) }

const again = "make a new one: aoifleet plan --out FILE"

// Read reads the plan at path, at most MaxSize bytes. The error is a *problem.Error of
// class usage.
func Read(path string) (*Plan, error) {
	data, err := localfile.Read(path, MaxSize+1)
	if err != nil {
		return nil, unreadable(path, err)
	}
	p, err := Parse(data)
	switch {
	case errors.Is(err, errEdited):
		return nil, &problem.Error{Class: problem.Usage, Message: path + " " + err.Error(), Hint: noSignature}
	case err != nil:
		return nil, &problem.Error{Class: problem.Usage, Message: path + " " + err.Error(), Hint: again}
	}
	return p, nil
}

func unreadable(path string, err error) *problem.Error {
	return &problem.Error{Class: problem.Usage, Message: path + " can't be read: " + localfile.Reason(err), Hint: "name a file that `aoifleet plan --out FILE` has written"}
}

// Parse reads a plan from memory, at most MaxSize bytes. The error completes a sentence
// that starts with the file's name, as in "is damaged".
func Parse(data []byte) (*Plan, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("is larger than %d MiB: it is not a saved plan", MaxSize>>20)
	}
	var head struct {
		SchemaVersion int    `json:"schema_version"`
		Kind          string `json:"kind"`
		ToolVersion   string `json:"tool_version"`
	}
	// A damaged file may start correctly; the strict decoder below reports that.
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&head); err == nil || errors.As(err, new(*json.UnmarshalTypeError)) {
		switch {
		case head.Kind != Kind:
			return nil, errors.New("is not a saved plan")
		case head.SchemaVersion != SchemaVersion:
			return nil, otherVersion(head.SchemaVersion)
		}
	} else if !bytes.Contains(data[:min(len(data), 512)], []byte(Kind)) {
		return nil, errors.New("is not a saved plan")
	}
	if crowded(data) {
		return nil, fmt.Errorf("is damaged: a list in it has more than %d entries", maxHosts)
	}
	p := new(Plan)
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(p); err != nil {
		return nil, errors.New("is damaged: " + jsonProblem(data, err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("is damaged: data follows the plan")
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("is damaged: %w", err)
	}
	if digestOf(data, p.Digest) != p.Digest {
		return nil, errEdited
	}
	return p, nil
}

// otherVersion is the error for a schema version that this program does not read.
type otherVersion int

// Error completes a sentence that starts with the file's name.
func (v otherVersion) Error() string {
	return fmt.Sprintf("is a saved plan of schema version %d; this program reads %d", int(v), SchemaVersion)
}

// Write sets the plan's digest and writes the plan to path with mode 0600, completely
// or not at all. It replaces any file there: call MayWrite first. A plan over MaxSize
// or one that Parse would refuse is an error.
func Write(path string, p *Plan) error { return write(path, p, MaxSize) }

func write(path string, p *Plan, limit int) error {
	if err := p.check(); err != nil {
		return err
	}
	data, err := p.seal()
	if err != nil {
		return err
	}
	if len(data) > limit {
		return &problem.Error{Class: problem.Internal, Message: fmt.Sprintf("the plan is larger than %d MiB", limit>>20), Hint: "plan a part of the fleet: --limit"}
	}
	return localfile.Write(path, data, 0o600)
}

// MayWrite returns nil if a plan may be written to path: it does not exist, or it is a
// saved plan of this or an earlier version. The error is a *problem.Error of class usage.
func MayWrite(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if !localfile.IsFolder(filepath.Dir(path)) {
			return &problem.Error{Class: problem.Usage, Message: "the folder of " + path + " does not exist", Hint: "create it, or name another file"}
		}
		return nil
	case err != nil:
		return unreadable(path, err)
	case !info.Mode().IsRegular():
		return &problem.Error{Class: problem.Usage, Message: path + " is not a regular file", Hint: "name another file"}
	}
	data, err := localfile.Read(path, MaxSize+1)
	if err != nil {
		return unreadable(path, err)
	}
	var version otherVersion
	if _, err := Parse(data); err != nil && !(errors.As(err, &version) && version > 0 && version < SchemaVersion) {
		return &problem.Error{Class: problem.Usage, Message: path + " exists but is not a saved plan of this program", Hint: "name another file, or remove it"}
	}
	return nil
}
