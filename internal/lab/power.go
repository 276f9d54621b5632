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

// bootIDPath is the file of a UUID that is new at each boot (random(4)).
const bootIDPath = "/proc/sys/kernel/random/boot_id"

var errCutInBoot = errors.New("the power was cut while it booted")

// PowerCut kills all processes of the machine with SIGKILL, without a message to
// clients, and closes its port and its connections; files stay, and written data
// is not lost. It returns when everything has ended. A boot in progress fails.
// PowerCut does nothing if the machine is off.
func (m *Machine) PowerCut() {
	m.endLife(m.current.Load())
	m.power.Lock()
	defer m.power.Unlock()
	m.off()
}

// Boot starts a machine that is off: a new boot id, an empty /run, the guards ordered before
// the agent (see guard), the agent if its unit is enabled, the other
// guards, the port. It returns when the machine accepts connections, or would
// without its faults. If ctx ends first, the machine is off again and Boot returns an
// error. Boot does nothing if the machine is on. The time since boot,
// /proc/uptime, is the workstation's and continues.
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

// BootID returns the UUID of the machine's last boot.
func (m *Machine) BootID() string {
	data, _ := os.ReadFile(m.inRoot(bootIDPath))
	return strings.TrimSpace(string(data))
}

// off ends the machine's life and waits for it; m.power must be held.
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
		err = errors.Join(m.newBootID(), m.emptyRun())
	}
	if err != nil {
		return fmt.Errorf("machine %s can't boot: %w", m.Name, err)
	}
	l := m.newLife()
	l.systemd.adopt(before.systemd)
	m.current.Store(l)
	stop := context.AfterFunc(ctx, func() { l.cancel(agent.ErrKilled) })
	m.startUnits(l)
	l.up.Store(true) // before the check: endLife uses the opposite order
	if !stop() || l.dark.Load() || l.ctx.Err() != nil {
		m.off()
		return fmt.Errorf("machine %s: %w", m.Name, errors.Join(errCutInBoot, ctx.Err()))
	}
	return m.adjustPort()
}

// newBootID writes a random UUID (RFC 9562 section 5.4).
func (m *Machine) newBootID() error {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	text := fmt.Sprintf("%x-%x-%x-%x-%x\n", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	return os.WriteFile(m.inRoot(bootIDPath), []byte(text), 0o644)
}

// emptyRun empties /run, a file system in memory (file-hierarchy(7)).
func (m *Machine) emptyRun() error {
	run := m.inRoot("/run")
	return errors.Join(os.RemoveAll(run), os.Mkdir(run, 0o755))
}

// startUnits starts the enabled units.
func (m *Machine) startUnits(l *life) {
	guards := m.guards()
	m.runGuards(l, guards, true)
	if l.systemd.state(Unit).File == "enabled" && !l.dark.Load() {
		_ = l.systemd.systemctl([]string{"start", Unit}) // it fails only without power
	}
	m.runGuards(l, guards, false)
}

// close ends the machine when its fleet is closed.
func (m *Machine) close() {
	m.power.Lock()
	defer m.power.Unlock()
	l := m.current.Load()
	l.up.Store(false)
	_ = m.adjustPort()
	l.systemd.close()
	l.tasks.Close()
	_ = m.reservation.Close()
	m.applying.Lock() // nothing is written after this
	defer m.applying.Unlock()
}
