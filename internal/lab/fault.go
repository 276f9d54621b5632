package lab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab/agent"
)

// The faults of a machine. A fault is one of these words and its
// argument, separated by a space; the words of package agent are faults too. An
// argument in double quotes has the syntax of a Go string. A TEXT that triggers a
// fault may have the prefix "in:" or "out:": only data from the client, or from the
// machine, then counts. "Once" means until the faults are set again.
const (
	faultUnreachable     = "unreachable"      // refuses connections
	faultAcceptSilent    = "accept-silent"    // accepts connections and sends nothing
	faultDropConnections = "drop-connections" // N: closes the next N connections before the handshake, as MaxStartups does
	faultChangedHostKey  = "changed-host-key" // has another host key than the one in known_hosts
	faultAuthRefused     = "auth-refused"     // refuses every key
	faultNoSFTP          = "no-sftp"          // has no SFTP subsystem
	faultSFTPFull        = "sftp-full"        // SFTP can create files but not write to them
	faultSudoPassword    = "sudo-password"    // sudo requires a password
	faultSudoTells       = "sudo-tells"       // [fails]: sudo requires a password, accepts any and prints it on standard error; with "fails" it then runs nothing
	faultNoOpenSSL       = "no-openssl"       // has no openssl
	faultMissingTool     = "missing-tool"     // NAME: lacks this program
	faultDiskFull        = "disk-full"        // [BLOCKS]: no command can write more than BLOCKS × 512 bytes to a file; default 0
	faultEndlessOutput   = "endless-output"   // answers every command with endless output
	faultEscapes         = "escapes"          // prints terminal escapes before a command's output, on both streams
	faultNoise           = "noise"            // TEXT: prints a line before a command's output, as some profiles do
	faultCutAfter        = "cut-after"        // N: closes a connection after N bytes from the client, once
	faultCutBefore       = "cut-before"       // TEXT: closes a connection instead of passing TEXT, in either direction, once
	faultCutOn           = "cut-on"           // TEXT: closes a connection after TEXT, in either direction, once
	faultGoneOn          = "gone-on"          // TEXT: the same, and the machine is unreachable afterwards
	faultSilentOn        = "silent-on"        // TEXT: passes nothing after TEXT, once; the connection stays
	faultRestartSlow     = "restart-slow"     // DURATION: systemctl restart takes this much longer
	faultRestartFails    = "restart-fails"    // TEXT: systemctl restart fails with this message
	faultNotWanted       = "not-wanted"       // systemctl show reports no target that wants the agent's unit
	faultTimerFails      = "timer-fails"      // TEXT: systemd-run fails with this message
	faultTimerDead       = "timer-dead"       // systemd-run succeeds, but creates no timer
	faultRebootOn        = "reboot-on"        // TEXT: the machine reboots after TEXT, once; the receiver does not see TEXT
	faultKillOn          = "kill-on"          // TEXT: SIGKILL to the process group of the command after TEXT, once; the command does not see TEXT
	faultSSHDRestartOn   = "sshd-restart-on"  // TEXT: the port closes and opens again after TEXT, once; connections stay
	faultSudoRevokedOn   = "sudo-revoked-on"  // TEXT: sudo refuses after TEXT
	faultClockJump       = "clock-jump"       // DURATION: date(1) is ahead by DURATION; behind if negative
	faultImmutable       = "immutable"        // mv, cp, ln and rm can change nothing in the certificate's folder, as after chattr +i
	faultDiags           = "diags"            // HOW: the agent's diagnostics tool is missing, hangs, fails TEXT, writes garbage, none, two or link; or a zip of large BYTES
	maxFaultText         = 256                // bytes
	maxFaultFile         = 8 << 20            // bytes
)

// faultKind checks the argument of a fault.
type faultKind func(argument string) error

func faultKinds() map[string]faultKind {
	return map[string]faultKind{
		faultUnreachable: needsNothing, faultAcceptSilent: needsNothing, faultDropConnections: needsCount,
		faultChangedHostKey: needsNothing, faultAuthRefused: needsNothing, faultNoSFTP: needsNothing,
		faultSFTPFull: needsNothing, faultSudoPassword: needsNothing, faultNoOpenSSL: needsNothing,
		faultSudoTells: mayFail, faultMissingTool: needsTool, faultDiskFull: mayHaveCount, faultEndlessOutput: needsNothing,
		faultEscapes: needsNothing, faultNoise: needsText, faultCutAfter: needsCount, faultCutBefore: needsText,
		faultCutOn: needsText, faultGoneOn: needsText, faultSilentOn: needsText,
		faultRestartSlow: needsDuration, faultRestartFails: needsText,
		faultNotWanted: needsNothing, faultTimerFails: needsText, faultTimerDead: needsNothing,
		faultRebootOn: needsText, faultKillOn: needsText, faultSSHDRestartOn: needsText, faultSudoRevokedOn: needsText,
		faultClockJump: needsJump, faultImmutable: needsNothing,
		faultDiags: needsHow,
	}
}

func needsNothing(argument string) error {
	if argument != "" {
		return fmt.Errorf("takes no argument")
	}
	return nil
}

func needsCount(argument string) error {
	if n, err := strconv.ParseUint(argument, 10, 31); err != nil || n == 0 {
		return fmt.Errorf("needs a count")
	}
	return nil
}

func mayHaveCount(argument string) error {
	if argument == "" {
		return nil
	}
	return needsCount(argument)
}

func mayFail(argument string) error {
	if argument != "" && argument != "fails" {
		return fmt.Errorf("takes no other argument than fails")
	}
	return nil
}

func needsTool(argument string) error {
	if !plainTool.MatchString(argument) {
		return fmt.Errorf("needs the name of a program")
	}
	return nil
}

func needsText(argument string) error {
	if argument == "" || len(argument) > maxFaultText {
		return fmt.Errorf("needs a text of at most %d bytes", maxFaultText)
	}
	return nil
}

func needsDuration(argument string) error {
	if d, err := time.ParseDuration(argument); err != nil || d <= 0 {
		return fmt.Errorf("needs a duration such as 3s")
	}
	return nil
}

func needsJump(argument string) error {
	if d, err := time.ParseDuration(argument); err != nil || d == 0 {
		return fmt.Errorf("needs a duration such as 48h or -90m")
	}
	return nil
}

// fault is one fault of a machine.
type fault struct {
	word, argument string
	line           string // as given; the agent reads its own faults
	// The direction of the text: only from the client, or only from the machine.
	// The client's script contains most of the text that it prints.
	onlyIn, onlyOut bool
}

func parseFault(line string) (fault, error) {
	line = strings.TrimSpace(line)
	word, argument, _ := strings.Cut(line, " ")
	f := fault{word: word, argument: strings.TrimSpace(argument), line: line}
	if agent.IsFault(word) {
		_, err := agent.ParseFault(line)
		return f, err
	}
	kind, ok := faultKinds()[word]
	if !ok {
		return f, fmt.Errorf("unknown fault %q", word)
	}
	f.direction()
	if strings.HasPrefix(f.argument, `"`) {
		text, err := strconv.Unquote(f.argument)
		if err != nil {
			return f, fmt.Errorf("fault %s: the quotes do not fit", word)
		}
		f.argument = text
	}
	if err := kind(f.argument); err != nil {
		return f, fmt.Errorf("fault %s %w", word, err)
	}
	return f, nil
}

// direction removes the prefix "in:" or "out:" of the text of a fault.
func (f *fault) direction() {
	waiting := []string{
		faultCutBefore, faultCutOn, faultGoneOn, faultSilentOn,
		faultRebootOn, faultKillOn, faultSSHDRestartOn, faultSudoRevokedOn,
	}
	if slices.Contains(waiting, f.word) {
		f.argument, f.onlyIn = strings.CutPrefix(f.argument, "in:")
		if !f.onlyIn {
			f.argument, f.onlyOut = strings.CutPrefix(f.argument, "out:")
		}
	}
}
