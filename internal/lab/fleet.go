package lab

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab/agent"
	"golang.org/x/crypto/ssh"
)

// faultPoll is the interval of checks of the faults file between connections.
const faultPoll = 100 * time.Millisecond

// Fleet is a running lab.
type Fleet struct {
	opts      Options
	dir       string
	temporary bool
	ctx       context.Context
	cancel    context.CancelFunc
	tasks     group
	machines  []*Machine
	byName    map[string]*Machine
	userKey   ssh.PublicKey
	sourceKey ssh.Signer // of SourceServer
	certs     certificates
	load      func([]byte) (agent.Credential, error)
	tools     *toolbox
	faultFile faultFile
}

// Start builds the fleet and returns when all of its machines accept connections
// and their agents have been started. The fleet ends with ctx or Close, whichever is
// first; Close must be called in any case. On systems other than Linux Start
// returns an error.
func Start(ctx context.Context, opts Options) (*Fleet, error) {
	if runtime.GOOS != "linux" {
		return nil, errors.New("the lab needs Linux")
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	names, err := opts.names()
	if err != nil {
		return nil, err
	}
	f := &Fleet{opts: opts, byName: make(map[string]*Machine, len(names)), load: memoise(agent.LoadCertificate)}
	f.ctx, f.cancel = context.WithCancel(ctx)
	if err := f.build(names); err != nil {
		return nil, errors.Join(fmt.Errorf("the lab can't be built: %w", err), f.Close())
	}
	return f, nil
}

func (f *Fleet) build(names []string) error {
	if err := f.makeDir(); err != nil {
		return err
	}
	tools, err := installTools(f.dir)
	if err != nil {
		return err
	}
	f.tools = tools
	if err := f.makeCertificates(); err != nil {
		return err
	}
	if err := f.makeIdentity(); err != nil {
		return err
	}
	if f.sourceKey, err = newHostKey(); err != nil {
		return err
	}
	for _, name := range names {
		m, err := f.newMachine(name)
		if err != nil {
			return fmt.Errorf("machine %s: %w", name, err)
		}
		f.machines = append(f.machines, m)
		f.byName[name] = m
	}
	if err := f.writeInventory(); err != nil {
		return err
	}
	return f.run()
}

// run boots the machines.
func (f *Fleet) run() error {
	f.faultFile.path = filepath.Join(f.dir, "faults")
	f.reloadFaults()
	for _, m := range f.machines {
		if err := m.Boot(f.ctx); err != nil {
			return err
		}
	}
	f.tasks.Go(f.pollFaults)
	return nil
}

// makeDir creates the directory of the fleet, empty except for a faults file.
func (f *Fleet) makeDir() (err error) {
	if f.opts.Dir == "" {
		f.temporary = true
		f.dir, err = os.MkdirTemp("", "aoifleet-lab-")
	} else {
		f.dir, err = filepath.Abs(f.opts.Dir)
		err = errors.Join(err, os.MkdirAll(f.dir, 0o755))
	}
	if err != nil {
		return err
	}
	if !plainPath.MatchString(f.dir) {
		return fmt.Errorf("only letters, digits and /._- may be in the path %q", f.dir)
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() != "faults" {
			return fmt.Errorf("%s is not empty", f.dir)
		}
	}
	return nil
}

// makeIdentity creates the key pair with which the client logs in.
func (f *Fleet) makeIdentity() error {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	if f.userKey, err = ssh.NewPublicKey(public); err != nil {
		return err
	}
	if err := writePrivateKey(f.IdentityFile(), private); err != nil {
		return err
	}
	return os.WriteFile(f.IdentityFile()+".pub", ssh.MarshalAuthorizedKey(f.userKey), 0o644)
}

// Close ends all machines, kills their remaining processes and removes a
// temporary directory. It can be called more than once, and at any time.
func (f *Fleet) Close() error {
	f.cancel()
	if len(f.machines) > 0 { // otherwise the directory may belong to another fleet
		killMarked(markVariable+f.dir+"/", drainTime)
	}
	for _, m := range f.machines {
		m.close()
	}
	f.tasks.Close()
	if f.temporary && f.dir != "" {
		return os.RemoveAll(f.dir)
	}
	return nil
}

// Dir returns the absolute path of the fleet's directory.
func (f *Fleet) Dir() string { return f.dir }

// InventoryFile returns the path of the fleet's inventory.
func (f *Fleet) InventoryFile() string { return filepath.Join(f.dir, "inventory.yaml") }

// KnownHostsFile returns the path of the known_hosts file with all machines.
func (f *Fleet) KnownHostsFile() string { return filepath.Join(f.dir, "known_hosts") }

// IdentityFile returns the path of LoginUser's private key.
func (f *Fleet) IdentityFile() string { return filepath.Join(f.dir, "id_ed25519") }

// EntraFile returns the path of the list of accepted thumbprints, one per line. The
// file is read for each token request and may be changed at any time. With
// Options.Registered there is no such file.
func (f *Fleet) EntraFile() string { return filepath.Join(f.dir, "entra") }

// FaultsFile returns the path of the faults file, which is read before each
// connection: lines of MACHINE FAULT ARGUMENT, where MACHINE is a name or a pattern
// such as london-*.
func (f *Fleet) FaultsFile() string { return filepath.Join(f.dir, "faults") }

// Machines returns all machines in the order of their numbers.
func (f *Fleet) Machines() []*Machine { return f.machines }

// Machine returns the machine with that name, or nil.
func (f *Fleet) Machine(name string) *Machine { return f.byName[name] }

func (f *Fleet) pollFaults() {
	ticker := time.NewTicker(faultPoll)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			f.reloadFaults()
		case <-f.ctx.Done():
			return
		}
	}
}
