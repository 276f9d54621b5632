// Package planfile is the file of a saved plan: what was seen of each host and
// what is to be done there, so that a person can approve it and another process
// can carry out exactly that. It holds no secret and decides nothing.
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

// SchemaVersion is the version of the format. A key that it does not have is
// an error: it may ask for what this program does not do. Version 1 had no digest.
const SchemaVersion = 2

// Kind is what tells a saved plan from any other JSON.
const Kind = "aoifleet-plan"

// MaxSize is the largest file that is read or written, in bytes; a host takes
// about one kilobyte.
const MaxSize = 64 << 20

// Plan is a saved plan.
type Plan struct {
	SchemaVersion int           `json:"schema_version"`
	Kind          string        `json:"kind"`
	ToolVersion   string        `json:"tool_version"`
	PlanID        string        `json:"plan_id"`
	Digest        string        `json:"digest"` // of all the rest, see ID; set by Write
	CreatedAt     time.Time     `json:"created_at"`
	Owner         string        `json:"owner"` // USER@HOST that made it
	Inventory     Inventory     `json:"inventory"`
	Certificates  []Certificate `json:"certificates"`
	Policy        Policy        `json:"policy"`
	Hosts         []Host        `json:"hosts"` // in the inventory's order
}

// Inventory is the inventory file that the plan was made from.
type Inventory struct {
	File   string `json:"file"` // as it was named; another path is as good
	SHA256 string `json:"sha256"`
}

// Certificate is one that is to be installed.
type Certificate struct {
	Thumbprint string    `json:"thumbprint"`
	Subject    string    `json:"subject"`
	NotAfter   time.Time `json:"not_after"`
	FileSHA256 string    `json:"file_sha256"` // of the file as it is installed
}

// Policy is how the plan is gone about. Plans of one policy compare equal.
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
	Verify           string `json:"verify"` // whether Azure is asked first: none, entra, skipped
}

// Host is one host of the plan. Outcome is set where nothing is to be done.
type Host struct {
	Name    string         `json:"name"`
	Address string         `json:"address"`
	Wave    *int           `json:"wave"`
	Action  string         `json:"action"`
	Reason  string         `json:"reason"`
	Outcome string         `json:"outcome,omitempty"`
	Error   *problem.Error `json:"error,omitempty"`
	New     *New           `json:"new"`
	Seen    *Seen          `json:"seen"` // null: it could not be looked at
}

// New is what shall be live on a host.
type New struct {
	Thumbprint string `json:"thumbprint"`
	FileSHA256 string `json:"file_sha256"`
}

// Seen is what a host was like.
type Seen struct {
	HostKey    string `json:"host_key"` // fingerprint, SHA256:…
	Provider   string `json:"provider"` // "": managed identity
	ClientID   string `json:"client_id"`
	File       File   `json:"file"`
	Live       *Live  `json:"live"` // null: it could not be told
	Unit       Unit   `json:"unit"`
	Unfinished string `json:"unfinished,omitempty"` // a run that was interrupted there
}

// File is the certificate file.
type File struct {
	Path   string `json:"path"` // with symlinks resolved
	SHA256 string `json:"sha256"`
	Owner  string `json:"owner"` // user:group
	Mode   string `json:"mode"`
}

// Live is the certificate in it.
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

const again = "make a new one: aoifleet plan --out FILE"

// Read reads the plan at path. The error is always a *problem.Error.
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

// Parse reads a plan that is in memory. The error says what is wrong with the
// file, without its name, as in "is damaged".
func Parse(data []byte) (*Plan, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("is larger than %d MiB: it is not a saved plan", MaxSize>>20)
	}
	var head struct {
		SchemaVersion int    `json:"schema_version"`
		Kind          string `json:"kind"`
		ToolVersion   string `json:"tool_version"`
	}
	// A damaged file may have a good beginning; that is told below.
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
	p := new(Plan)
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(p); err != nil {
		return nil, errors.New("is damaged: " + jsonProblem(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("is damaged: something follows the plan")
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("is damaged: %w", err)
	}
	if digestOf(data, p.Digest) != p.Digest {
		return nil, errEdited
	}
	return p, nil
}

// otherVersion is a schema version that this program does not read.
type otherVersion int

// Error says so of a file.
func (v otherVersion) Error() string {
	return fmt.Sprintf("is a saved plan of schema version %d; this program reads %d", int(v), SchemaVersion)
}

// Write sets the plan's digest and writes it to path, readable by its owner only,
// whole or not at all. The path must be one that MayWrite.
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

// MayWrite tells whether a plan may be written to path: where there is nothing
// yet, or a saved plan, also of an earlier version. The error is always a *problem.Error.
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
		return &problem.Error{Class: problem.Usage, Message: path + " exists and is not a saved plan that this program reads", Hint: "name another file, or remove it"}
	}
	return nil
}
