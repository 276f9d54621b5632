// Package inventory reads the file that names the agent virtual machines and
// how they are reached, judged and rolled out, and selects hosts from it.
//
// Reading is strict: every mistake is reported, all at once, with its line and
// column. What comes out is complete (defaults filled in, ranges expanded,
// local paths absolute) and frozen: hosts share maps and slices, so nobody may
// change them.
package inventory

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/jump"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/secretsource"
)

// maxFileSize bounds the inventory file, in bytes. The largest fleet allowed
// (maxHosts) with a line a host stays well below.
const maxFileSize = 32 << 20

// maxHosts bounds the fleet after ranges are expanded, so that a slip such as
// [0-9999999] is an error and not an exhausted memory.
const maxHosts = 100_000

// Env is what the workstation gives; nothing in this package reads the
// environment itself.
type Env struct {
	User string // login name used where the inventory names none
	Home string // absolute home directory, for "~" and the default known_hosts
}

// Inventory is one inventory file, read and checked.
type Inventory struct {
	Path    string // as given to Load or Parse
	Digest  string // SHA-256 of the file as it was read, lower-case hex
	Hosts   []Host // file order: hosts, then groups; ranges expanded; at most 100,000
	Rollout Rollout
	Azure   azurecloud.Settings
}

// Host is one agent virtual machine with everything that applies to it: its
// own settings, else its group's, else the inventory's defaults.
type Host struct {
	Name           string        // unique in the inventory; letters, digits, ".", "_", "-"
	Address        string        // DNS name or IP address, without port or brackets
	User           string        // login name
	Port           int           // TCP port of SSH, 1 to 65535
	Group          string        // "" for a host in no group
	IdentityFiles  []string      // absolute paths of private keys, in order; empty: ssh-agent
	KnownHosts     string        // absolute path
	Certificate    string        // absolute path of the base64 P12, or keyvault://VAULT/NAME[/VERSION]; "": none is named
	VerifyEntra    bool          // whether Entra is asked about the certificate before a host is touched
	ViaHost        bool          // whether that is asked from the host's network, through it
	ConnectTimeout time.Duration // above 0, at most 24 hours
	SSHConfig      string        // absolute path of an ssh_config(5) file; "": those that ssh reads by itself; "none"
	Jump           []jump.Hop    // passed in this order; shared between hosts: read only
	Given          Given
	// AcceptNewHostKeys: the key of a host that known_hosts does not know is
	// written there; one that has changed is refused all the same.
	AcceptNewHostKeys bool
	// HostKeyFingerprints are SHA-256 fingerprints as ssh-keygen -l prints them;
	// where there are any, the host's key must be one of them and known_hosts is
	// not looked at.
	HostKeyFingerprints []string
	PasswordFrom        secretsource.Source // of the login user; the zero value: there is none
	PassphraseFrom      secretsource.Source // of encrypted identity files; the zero value: a terminal, if there is one
	Sudo                Sudo
	SudoPassword        secretsource.Source // set with SudoPassword only
	Helper              string              // path on the host of the installed script that sudo runs; "": the script is sent
	Agent               Agent
	Health              Health
	Backups             Backups
	Labels              map[string]string // shared between hosts: read only; may be nil
}

// Given tells what the inventory itself says about a host: the rest may be told
// by ssh_config, and is else the default that the host has.
type Given struct {
	User, Port, IdentityFiles, KnownHosts, ConnectTimeout, Jump bool
}

// Sudo says how the login user becomes root.
type Sudo int

// The ways to become root.
const (
	SudoPasswordless Sudo = iota // sudo without a password
	SudoNone                     // the login user is root
	SudoPassword                 // sudo with a password, see Host.SudoPassword
)

// String gives the word that the inventory uses; where it has none, "password".
func (s Sudo) String() string {
	switch s {
	case SudoNone:
		return "none"
	case SudoPassword:
		return "password"
	}
	return "passwordless"
}

// Agent says where the ingestion agent lives on the host. Paths are the
// host's: absolute, without control characters and ".." components.
type Agent struct {
	Unit            string // systemd service, with its suffix
	Config          string // the agent's configuration file
	Log             string // the agent's log file
	Provider        string // name of the secret provider to rotate; "" when there is only one
	CertificatePath string // "" when it is to be told from the configuration
	WhenStopped     string // "refuse" or "replace": what to do with a unit that a person stopped
}

// Health says when a restarted agent counts as healthy.
type Health struct {
	Window      time.Duration // how long it is watched; 0: checked once
	Timeout     time.Duration // for the restart and for Expect; above 0
	Expect      []string      // POSIX extended regular expressions that must appear in the log
	Deny        []string      // the same, that must not appear
	DenyDefault bool          // whether the built-in deny patterns apply too
	Command     string        // run as the login user, exit 0 is healthy; "" for none
	Diagnostics bool          // whether the agent's diagnostics are brought home before a rollback
	// ConfirmTimeout is how long a host waits for the confirmation before it
	// undoes by itself; 0: Timeout + Window + 60 s, see Hold.
	ConfirmTimeout time.Duration
}

// Hold is how long a host waits for the operator's confirmation, counted anew
// from each sign of life of the transaction.
func (h Health) Hold() time.Duration {
	if h.ConfirmTimeout > 0 {
		return h.ConfirmTimeout
	}
	return h.Timeout + h.Window + time.Minute
}

// Backups says how long replaced certificates are kept on the host. They hold
// private keys.
type Backups struct {
	Keep   int           // the newest so many
	MaxAge time.Duration // whole days
}

// Rollout is the policy of a run over many hosts.
type Rollout struct {
	Parallel         int           // restarts at once, at least 1
	Canary           int           // hosts of the first wave; 0: there is no canary
	Batches          []Amount      // of the waves after it, the last for all that follow; never empty
	Soak             time.Duration // watched on between two waves; 0: not
	MaxFailures      Amount        // the run stops when so many hosts have failed
	CountUnreachable bool          // whether an unreachable host counts as failed
	MaxUnavailable   Unavailable
	ConnectRate      int // new connections in any second, 1 to 10,000
	ConnectParallel  int // handshakes at once at the machine connected to first, 1 to 1000
}

// Unavailable bounds how many hosts with the same value of a label may be in
// mid-restart at once. The zero value is no bound.
type Unavailable struct {
	Label string // "": no bound
	Count int    // at least 1
}

// Load reads and checks the inventory file at path, at most 32 MiB of it. The
// error is always an Errors.
func Load(path string, env Env) (*Inventory, error) {
	data, err := localfile.Read(path, maxFileSize+1)
	if err == nil && len(data) > maxFileSize {
		err = errTooLarge
	}
	if err != nil {
		return nil, Errors{readError(path, err)}
	}
	return Parse(path, data, env)
}

// Parse checks an inventory that is already in memory. path names the file in
// errors, and relative paths in the inventory start from its folder. The error
// is always an Errors, in the order of the file.
func Parse(path string, data []byte, env Env) (*Inventory, error) {
	r, err := newReader(path, env)
	if err != nil {
		return nil, Errors{{File: path, Message: "the inventory's folder can't be found: " + err.Error()}}
	}
	sum := sha256.Sum256(data)
	inv := &Inventory{Path: path, Digest: hex.EncodeToString(sum[:]), Rollout: defaultRollout(), Azure: azurecloud.Settings{Name: "public"}}
	if root := r.decode(data); root != nil {
		r.inventory(root, inv)
	}
	if errs := r.sorted(); len(errs) > 0 {
		return nil, errs
	}
	return inv, nil
}

var errTooLarge = fmt.Errorf("the file is larger than %d MiB", maxFileSize>>20)

func readError(path string, err error) Error {
	e := Error{File: path, Message: "can't be read: " + localfile.Reason(err), Hint: "name a file that you may read with -i FILE or AOIFLEET_INVENTORY"}
	switch {
	case errors.Is(err, errTooLarge):
		e.Message, e.Hint = err.Error(), "is it the right file?"
	case errors.Is(err, fs.ErrNotExist):
		e.Message = "there is no such file"
		e.Hint = "name the inventory with -i FILE or AOIFLEET_INVENTORY"
	}
	return e
}
