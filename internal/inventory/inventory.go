// Package inventory reads the file that lists the agents' virtual machines and how to
// connect to them, check their health and roll out to them. It also selects hosts.
//
// Reading is strict: all mistakes are reported at once, with line and column. An
// Inventory is complete (defaults filled in, ranges expanded, local paths absolute) and
// read-only: hosts share maps and slices, so callers must not change them.
package inventory

import (
	"cmp"
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

// maxFileSize bounds the inventory file, in bytes. The largest fleet
// (maxHosts) with one line per host is well below it.
const maxFileSize = 32 << 20

// maxHosts bounds the fleet after ranges are expanded, so that a typo such as
// [0-9999999] is an error and does not exhaust the memory.
const maxHosts = 100_000

// Env has the values from the workstation's environment, which this package does not
// read itself.
type Env struct {
	User string // login name if the inventory sets none
	Home string // absolute home directory, for "~" and the default known_hosts
}

// Inventory is a valid inventory file.
type Inventory struct {
	Path    string // as given to Load or Parse
	Digest  string // SHA-256 of the file as it was read, lower-case hex
	Hosts   []Host // file order: hosts, then groups; ranges expanded; at most 100,000
	Rollout Rollout
	Azure   azurecloud.Settings
	Notify  secretsource.Source // of the address to which the result of a run is posted; zero value: none
}

// Host is one agent's virtual machine with all its settings: its own, else its group's,
// else the inventory's defaults.
type Host struct {
	Name          string   // unique in the inventory; letters, digits, ".", "_", "-"
	Address       string   // DNS name or IP address, without port or brackets
	User          string   // login name
	Port          int      // TCP port of SSH, 1 to 65535
	Group         string   // "" for none
	IdentityFiles []string // absolute paths of private keys, in order; empty: ssh-agent
	KnownHosts    string   // absolute path
	Certificate   string   // absolute path of the base64 P12, or keyvault://VAULT/NAME[/VERSION]; "": none
	// CertificateCommand is a line for sh that prints the certificate; {name} in it is the
	// host's name. "": none. If it is set, Certificate is "".
	CertificateCommand string
	VerifyEntra        bool          // check the certificate with Entra before the host is changed
	ViaHost            bool          // make that check through the host, from its network
	ConnectTimeout     time.Duration // above 0, at most 24 hours
	SSHConfig          string        // absolute path of an ssh_config(5) file; "": ssh's defaults; "none": no file
	Jump               []jump.Hop    // first to last; shared between hosts: read only
	Given              Given
	// AcceptNewHostKeys adds the key of a host that is not in known_hosts to it. A changed
	// key is refused in any case.
	AcceptNewHostKeys bool
	// HostKeyFingerprints are SHA-256 fingerprints as ssh-keygen -l prints them. If there
	// are any, the host's key must have one of them, and known_hosts is not used.
	HostKeyFingerprints []string
	PasswordFrom        secretsource.Source // of the login user; zero value: none
	PassphraseFrom      secretsource.Source // of encrypted identity files; zero value: prompt, if there is a terminal
	Sudo                Sudo
	SudoPassword        secretsource.Source // set if and only if Sudo is SudoPassword
	Helper              string              // path on the host of the installed script for sudo; "": the script is sent
	Agent               Agent
	Health              Health
	Backups             Backups
	Labels              map[string]string // shared between hosts: read only; may be nil
}

// Site returns the host's label site, or else its group.
func (h *Host) Site() string { return cmp.Or(h.Labels["site"], h.Group) }

// Given says which settings of a host are from the inventory. For the others ssh_config
// comes before the default that the Host has.
type Given struct {
	User, Port, IdentityFiles, KnownHosts, ConnectTimeout, Jump bool
}

// Sudo is how the login user becomes root.
type Sudo int

// The values of Sudo.
const (
	SudoPasswordless Sudo = iota // sudo without a password
	SudoNone                     // the login user is root
	SudoPassword                 // sudo with a password, see Host.SudoPassword
)

// String returns the inventory's value, or "password" for SudoPassword.
func (s Sudo) String() string {
	switch s {
	case SudoNone:
		return "none"
	case SudoPassword:
		return "password"
	}
	return "passwordless"
}

// Agent has the unit and files of the ingestion agent on the host. Paths are absolute,
// without control characters and ".." components.
type Agent struct {
	Unit            string // systemd service, with its suffix
	Package         string // name of its package on the host, for the package manager
	Config          string // the agent's configuration file
	Log             string // the agent's log file
	Provider        string // name of the secret provider to rotate; "" if there is only one
	CertificatePath string // "": read it from the agent's configuration
	Configuration   string // absolute path on the workstation of what Config should be: a file, or a template (.tmpl); "": none
	WhenStopped     string // what to do if the operator stopped the unit: "refuse" or "replace"
}

// Health has the criteria for a healthy agent after a restart.
type Health struct {
	Window      time.Duration // how long to watch it; 0: check once
	Timeout     time.Duration // for the restart and for Expect; above 0
	Expect      []string      // POSIX extended regular expressions that must appear in the log
	Deny        []string      // patterns that must not appear
	DenyDefault bool          // use the built-in deny patterns too
	Command     string        // run as the login user; exit status 0 is healthy; "": none
	Diagnostics bool          // download the agent's diagnostics before a rollback
	// ConfirmTimeout is how long a host waits for the confirmation before it undoes the
	// change by itself; 0: Timeout + Window + ProofTimeout + 60 s. See Hold.
	ConfirmTimeout time.Duration
	// ProofTimeout is how much longer than Window the watch waits for the agent's own word
	// that it has uploaded something; 0: not.
	ProofTimeout time.Duration
}

// Hold returns how long a host waits for the operator's confirmation. The time restarts
// with each sign of life of the transaction.
func (h Health) Hold() time.Duration {
	if h.ConfirmTimeout > 0 {
		return h.ConfirmTimeout
	}
	return h.Timeout + h.Window + h.ProofTimeout + time.Minute
}

// Backups is the retention of replaced certificates on the host. They contain private
// keys.
type Backups struct {
	Keep   int           // number of the newest to keep
	MaxAge time.Duration // whole days
}

// Rollout is the policy of a run over many hosts.
type Rollout struct {
	Parallel         int           // restarts at once, at least 1
	Canary           int           // hosts in the first wave; 0: no canary
	Batches          []Amount      // sizes of the waves after it; the last is for all following waves; never empty
	Soak             time.Duration // time between two waves in which health is watched; 0: none
	MaxFailures      Amount        // the run stops at this number of failed hosts
	CountUnreachable bool          // an unreachable host counts as failed
	MaxUnavailable   Unavailable
	Windows          []Window // when changes of hosts may begin, see Opening
	Freezes          []Freeze
	ConnectRate      int // new connections per second, 1 to 10,000
	ConnectParallel  int // handshakes at once with the first machine on a route, 1 to 1000
}

// Unavailable bounds how many hosts with the same value of a label may restart at once.
// The zero value is no bound.
type Unavailable struct {
	Label string // "": no bound
	Count int    // at least 1
}

// Load reads the inventory file at path, of at most 32 MiB. The error is an Errors.
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

// Parse reads an inventory from memory. path names the file in errors, and relative paths
// in the inventory are relative to its folder. The error is an Errors, in the order of
// the file.
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
	case errors.Is(err, localfile.ErrKind), path == "-":
		e.Hint = "name a regular file; a pipe is read as -i /dev/stdin"
	case errors.Is(err, fs.ErrNotExist):
		e.Message = "there is no such file"
		e.Hint = "name the inventory with -i FILE or AOIFLEET_INVENTORY"
	}
	return e
}
