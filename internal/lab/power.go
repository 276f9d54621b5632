package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/aoifleet/aoifleet/internal/lab/agent"
)

// bootIDPath is where Linux has a UUID that is new at each boot (random(4)).
const bootIDPath = "/proc/sys/kernel/random/boot_id"

var errCutInBoot = errors.New("the power was cut while it booted")

// PowerCut ends all that runs on the machine with SIGKILL, without a word to
// anybody, and closes its port and its connections; files stay, and nothing of
// what was written is lost. It returns when all is at an end. A boot that is
// under way fails. Of a machine that is off nothing changes.
func (m *Machine) PowerCut() {
	m.endLife(m.current.Load())
	m.power.Lock()
	defer m.power.Unlock()
	m.off()
}

// Boot starts a machine that is off: a new boot id, the guards that are to be
// run before the agent (see guard), the agent if its unit is enabled, the other
// guards, the port. It returns when the machine takes connections, or would but
// for its faults. When ctx ends before, the machine is off again, and that is an
// error. Of a machine that runs nothing changes. The time since boot,
// /proc/uptime, goes on from before: it is the real one.
func (m *Machine) Boot(ctx context.Context) error {
	m.power.Lock()
	defer m.power.Unlock()
	return m.boot(ctx)
}

// Reboot is PowerCut and Boot.
func (m *Machine) Reboot(ctx context.Context) error {
	m.endLife(m.current.Load())
	m.power.Lock()
	defer m.power.Unlock()
	m.off()
	return m.boot(ctx)
}

// BootID is the UUID of the machine's last boot.
func (m *Machine) BootID() string {
	data, _ := os.ReadFile(m.inRoot(bootIDPath))
	return strings.TrimSpace(string(data))
}

// off ends the machine's life and waits for the end; m.power must be held.
func (m *Machine) off() {
	l := m.current.Load()
	m.endLife(l)
	l.systemd.close()
	l.tasks.Close()
}

// boot is Boot with m.power held.
func (m *Machine) boot(ctx context.Context) error {
	before := m.current.Load()
	if before.up.Load() {
		return nil
	}
	err := errors.Join(ctx.Err(), m.fleet.ctx.Err())
	if err == nil {
		err = m.newBootID()
	}
	if err != nil {
		return fmt.Errorf("machine %s can't boot: %w", m.Name, err)
	}
	l := m.newLife()
	l.systemd.adopt(before.systemd)
	m.current.Store(l)
	stop := context.AfterFunc(ctx, func() { l.cancel(agent.ErrKilled) })
	m.startUnits(l)
	l.up.Store(true) // and then look: endLife does the same the other way round
	if !stop() || l.dark.Load() || l.ctx.Err() != nil {
		m.off()
		return fmt.Errorf("machine %s: %w", m.Name, errors.Join(errCutInBoot, ctx.Err()))
	}
	return m.adjustPort()
}

// newBootID writes a random UUID (RFC 9562 section 5.4).
func (m *Machine) newBootID() error {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails, crypto/rand says
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	text := fmt.Sprintf("%x-%x-%x-%x-%x\n", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	return os.WriteFile(m.inRoot(bootIDPath), []byte(text), 0o644)
}

// startUnits starts what is enabled.
func (m *Machine) startUnits(l *life) {
	guards := m.guards()
	m.runGuards(l, guards, true)
	if l.systemd.state(Unit).File == "enabled" && !l.dark.Load() {
		_ = l.systemd.systemctl([]string{"start", Unit}) // it fails only without power
	}
	m.runGuards(l, guards, false)
}

// close is the end of the machine, with its fleet's.
func (m *Machine) close() {
	m.power.Lock()
	defer m.power.Unlock()
	l := m.current.Load()
	l.up.Store(false)
	_ = m.adjustPort()
	l.systemd.close()
	l.tasks.Close()
	_ = m.reservation.Close()
	m.applying.Lock() // what was at it writes nothing after this
	defer m.applying.Unlock()
}
