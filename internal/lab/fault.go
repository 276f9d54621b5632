package lab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab/agent"
)

// What can be wrong with a machine. A fault is one of these words and its
// argument, separated by a space; the words of package agent are faults too. An
// argument in double quotes is read as Go reads a string. Before a TEXT that is
// waited for there may be "in:" or "out:": only what comes from the client, or
// from the machine. "Once" is until the faults are set anew.
const (
	faultUnreachable     = "unreachable"      // refuses connections
	faultAcceptSilent    = "accept-silent"    // takes connections and never speaks
	faultDropConnections = "drop-connections" // N: closes the next N connections before a word, as MaxStartups does
	faultChangedHostKey  = "changed-host-key" // has another host key than known_hosts says
	faultAuthRefused     = "auth-refused"     // refuses every key
	faultNoSFTP          = "no-sftp"          // has no SFTP subsystem
	faultSFTPFull        = "sftp-full"        // SFTP can make files but not write to them
	faultSudoPassword    = "sudo-password"    // sudo wants a password
	faultSudoTells       = "sudo-tells"       // [fails]: sudo wants a password, takes any and tells it on standard error; then it runs nothing if so
	faultNoOpenSSL       = "no-openssl"       // has no openssl
	faultMissingTool     = "missing-tool"     // NAME: has no such program
	faultDiskFull        = "disk-full"        // [BLOCKS]: no command can write more to a file than so many 512 bytes, none if absent
	faultEndlessOutput   = "endless-output"   // answers every command with output without end
	faultEscapes         = "escapes"          // puts terminal escapes before what a command prints, on both streams
	faultNoise           = "noise"            // TEXT: puts a line before what a command prints, as a careless profile does
	faultCutAfter        = "cut-after"        // N: closes a connection when N bytes have come from the client, once
	faultCutBefore       = "cut-before"       // TEXT: closes a connection instead of passing TEXT on, either way, once
	faultCutOn           = "cut-on"           // TEXT: closes a connection when TEXT has been passed on, either way, once
	faultGoneOn          = "gone-on"          // TEXT: the same, and is unreachable then
	faultSilentOn        = "silent-on"        // TEXT: passes nothing more on after TEXT, once; the connection stays
	faultRestartSlow     = "restart-slow"     // DURATION: systemctl restart takes so much longer
	faultRestartFails    = "restart-fails"    // TEXT: systemctl restart fails with these words
	faultNotWanted       = "not-wanted"       // no target wants the agent's unit, systemctl show says
	faultTimerFails      = "timer-fails"      // TEXT: systemd-run fails with these words
	faultTimerDead       = "timer-dead"       // systemd-run ends well, but there is no timer
	faultRebootOn        = "reboot-on"        // TEXT: the machine reboots when TEXT has been passed on, once; what it came for does not see it
	faultKillOn          = "kill-on"          // TEXT: SIGKILL to the process group of the command when TEXT has been passed on, once; it does not see it
	faultSSHDRestartOn   = "sshd-restart-on"  // TEXT: the port closes and opens again, connections stay, once
	faultSudoRevokedOn   = "sudo-revoked-on"  // TEXT: from then on sudo refuses
	faultClockJump       = "clock-jump"       // DURATION: date(1) is so much ahead; behind if negative
	faultImmutable       = "immutable"        // mv, cp, ln and rm can't change anything in the certificate's folder, as after chattr +i
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

// fault is one thing that is wrong with a machine.
type fault struct {
	word, argument string
	line           string // as it was given; the agent reads its own
	// Of a text that is waited for: only from the client, or only from the
	// machine. The script that the client sends holds most of what it prints.
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

// direction takes "in:" or "out:" off the text of a fault that waits for one.
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
