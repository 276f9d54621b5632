//go:build e2e && linux

package e2e

// anyOf returns a list of outcomes.
func anyOf(outcome ...string) []string { return outcome }

// faultCases returns the matrix. If two sides race, each allowed outcome is listed.
func faultCases() []faultCase {
	var all []faultCase
	for _, part := range [][]faultCase{slowCases(), programCases(), linkCases(), powerCases(), hostCases(), diskCases(), agentCases(), rollbackCases(), bothCases()} {
		all = append(all, part...)
	}
	return all
}

// slowCases returns the cases that wait for a switch, a keepalive or the program's limit.
func slowCases() []faultCase {
	return []faultCase{
		{step: "watch", fault: "link silent for good", at: atWatch, inject: silenceLink, after: cutSilentLink, reported: anyOf("rolled_back"), found: "old", settled: "the host"},
		{step: "watch", fault: "host off until the program gives up", at: atWatch, inject: staysOff, reported: anyOf("unknown"), found: "old", check: hasSettlesAt},
		{step: "watch", fault: "connection cut and sudo revoked", at: atWatch, inject: revokeSudoForGood, reported: anyOf("unknown"), found: "old", settled: "the host", check: hasSettlesAt},
		{step: "undo", fault: "program and host.sh killed, then the timer's undo", at: atWatch, inject: killUndo, reported: anyOf("none"), found: "old"},
		{step: "watch", fault: "program and host.sh killed", at: atWatch, inject: killProgramAndScript, reported: anyOf("none"), found: "old"},
		{step: "swap", fault: "program and host.sh killed", at: swapped, inject: killProgramAndScript, reported: anyOf("none"), found: "old"},
		{step: "confirm", fault: "the answer arrives after the host's undo", at: atConfirm, inject: lateAnswer, reported: anyOf("rolled_back"), found: "old", settled: "the host"},
		{step: "confirm", fault: "deadline passed", at: atConfirm, inject: pastDeadline, reported: anyOf("rolled_back"), found: "old", settled: "the host"},
		{step: "watch", fault: "link silent, another run undone before it returns", at: atWatch, inject: runUndone, reported: anyOf("rolled_back", "unknown"), found: "old", settled: "the host", overwritten: true},
		{step: "confirm", fault: "the answer arrives in the watch of another run", at: atConfirm, inject: anotherRun, reported: anyOf("rolled_back", "unknown"), found: "old", settled: "the host", overwritten: true},
	}
}

func programCases() []faultCase {
	killed := func(step string, at point, found string) faultCase {
		return faultCase{step: step, fault: "program killed", at: at, inject: killProgram, reported: anyOf("none"), found: found}
	}
	undo := killed("undo", claimed, "old")
	undo.before = refuseNew
	undo.after = acceptBoth
	return []faultCase{
		killed("check", atCheck, "old"),
		killed("backup", atBackup, "old"),
		killed("arm", atArm, "old"),
		killed("swap", swapped, "old"),
		killed("restart", atRestart, "old"),
		killed("watch", atWatch, "old"),
		killed("confirm, before the answer", atConfirm, "old"),
		killed("confirm, after the answer", atVerdict, "new"),
		undo,
	}
}

func linkCases() []faultCase {
	return []faultCase{
		{step: "arm", fault: "connection cut", at: atArm, inject: cutLink, reported: anyOf("rolled_back"), found: "old"},
		{step: "restart", fault: "sshd's session killed", at: restarted, inject: killSession, reported: anyOf("rolled_back"), found: "old"},
		{step: "confirm, after the answer", fault: "connection cut", at: confirmed, inject: cutLink, reported: anyOf("rotated"), found: "new"},
		{step: "undo", fault: "connection cut", at: atRestore, before: refuseNew, inject: cutLink, after: acceptBoth, reported: anyOf("rolled_back"), found: "old"},
		{step: "watch", fault: "sshd restarted", at: atWatch, inject: restartSSH, continues: true, reported: anyOf("rotated"), found: "new"},
		{step: "watch", fault: "systemd reloaded and re-executed", at: atWatch, inject: reloadManager, continues: true, reported: anyOf("rotated"), found: "new"},
		{step: "watch", fault: "sudo revoked", at: atWatch, inject: revokeSudo, continues: true, after: grantSudo, reported: anyOf("rotated"), found: "new"},
	}
}

func powerCases() []faultCase {
	return []faultCase{
		{step: "backup", fault: "power cut", at: atBackup, inject: cutPower, reported: anyOf("rolled_back", "refused"), found: "old"},
		{step: "arm", fault: "power cut", at: atArm, inject: cutPower, reported: anyOf("rolled_back"), found: "old"},
		{step: "swap", fault: "power cut", at: swapped, inject: cutPower, reported: anyOf("rolled_back"), found: "old"},
		{step: "undo by the boot guard", fault: "power cut again", at: swapped, inject: cutPowerTwice, reported: anyOf("rolled_back"), found: "old"},
		{step: "undo by the boot guard", fault: "program and guard killed", at: swapped, inject: killGuard, reported: anyOf("none"), found: "old", settled: "the host"},
		{step: "restart", fault: "orderly reboot", at: restarted, inject: reboot, reported: anyOf("rolled_back", "failed"), found: "old"},
		{step: "watch", fault: "power cut", at: atWatch, inject: cutPower, reported: anyOf("rolled_back"), found: "old"},
		{step: "watch", fault: "program killed and power cut", at: atWatch, inject: killProgramAndPower, reported: anyOf("none"), found: "old"},
		{step: "watch", fault: "program killed and power cut, then recover", at: atWatch, inject: killProgramAndPower, reported: anyOf("none"), found: "old", recover: true},
		{step: "confirm, after the answer", fault: "power cut", at: confirmed, inject: cutPower, reported: anyOf("rotated"), found: "new"},
		{step: "undo", fault: "power cut before the file is restored", at: atRestore, before: refuseNew, inject: cutPower, after: acceptBoth, reported: anyOf("rolled_back"), found: "old"},
		{step: "undo", fault: "power cut before the agent is restarted", at: atBack, before: refuseNew, inject: cutPower, after: acceptBoth, reported: anyOf("rolled_back"), found: "old"},
	}
}

func hostCases() []faultCase {
	return []faultCase{
		{step: "backup", fault: "host.sh killed", at: atBackup, inject: killScript, reported: anyOf("rolled_back", "refused"), found: "old"},
		{step: "swap", fault: "host.sh killed", at: swapped, inject: killScript, reported: anyOf("rolled_back"), found: "old"},
		{step: "confirm, before the answer", fault: "host.sh killed", at: atConfirm, inject: killScriptInConfirm, reported: anyOf("rolled_back"), found: "old"},
		{step: "undo", fault: "host.sh killed", at: claimed, before: refuseNew, inject: killScript, after: acceptBoth, reported: anyOf("rolled_back"), found: "old"},
	}
}

func diskCases() []faultCase {
	return []faultCase{
		{step: "backup", fault: "state folder full", at: atSave, before: ownState, inject: fillState, after: unmountState, reported: anyOf("refused"), found: "old"},
		{step: "watch", fault: "state folder full", at: atWatch, before: ownState, inject: fillState, after: unmountState, reported: anyOf("rotated", "rolled_back")},
		{step: "backup", fault: "certificate's folder full", at: atSave, before: ownCertificates, inject: fillCertificates, after: dropCertificates, reported: anyOf("refused"), found: "old"},
		{step: "undo", fault: "certificate's folder full", at: atUndo, before: ownCertificatesRefused, inject: fillCertificates, after: dropCertificates, reported: anyOf("failed"), found: "new", unhealthy: true},
		{step: "swap", fault: "certificate immutable", at: atSwap, inject: immutableFile, after: freeFile, reported: anyOf("refused"), found: "old"},
		{step: "swap", fault: "certificate's folder immutable", at: atSwap, inject: immutableFolder, after: freeFolder, reported: anyOf("refused"), found: "old"},
		{step: "undo", fault: "certificate immutable", at: atUndo, before: refuseNew, inject: immutableFile, after: freeFileAcceptBoth, reported: anyOf("failed"), found: "new", unhealthy: true},
		{step: "confirm, after the answer", fault: "state folder immutable temporarily", at: atVerdict, inject: immutableState, reported: anyOf("rolled_back"), found: "old"},
	}
}

func agentCases() []faultCase {
	return []faultCase{
		{step: "restart", fault: "start limit used up", at: atRestart, before: startLimitOfTwo, inject: noFault, after: removeStartLimit, reported: anyOf("rolled_back"), found: "old"},
		{step: "undo", fault: "old certificate refused too", at: atUndo, before: refuseNew, inject: refuseAll, after: acceptBoth, reported: anyOf("failed"), found: "old", unhealthy: true, check: keepsEvidence},
		{step: "restart", fault: "agent unhealthy before and after", at: restarted, before: unhealthyBefore, inject: noFault, after: acceptBoth, reported: anyOf("failed"), found: "old", unhealthy: true},
		{step: "restart", fault: "program killed, agent unhealthy before and after", at: restarted, before: unhealthyBefore, inject: killProgram, after: acceptBoth, reported: anyOf("none"), found: "old", unhealthy: true},
	}
}

// rollbackCases returns the faults of a rollback of an earlier run. "old" is then the
// certificate that the earlier run has installed.
func rollbackCases() []faultCase {
	cases := []faultCase{
		{step: "rollback: watch", fault: "program killed", at: atWatch, inject: killProgram, reported: anyOf("none"), found: "old"},
		{step: "rollback: swap", fault: "power cut", at: swapped, inject: cutPower, reported: anyOf("rolled_back"), found: "old"},
		{step: "rollback: restart", fault: "start limit used up", at: atRestart, before: startLimitOfTwo, inject: noFault, after: removeStartLimit, reported: anyOf("rolled_back"), found: "old"},
		{step: "rollback: confirm, after the answer", fault: "connection cut", at: confirmed, inject: cutLink, reported: anyOf("restored"), found: "new"},
		{step: "rollback: undo", fault: "the previous certificate refused too", at: atUndo, before: refuseNew, inject: refuseAll, after: swapGoal, reported: anyOf("failed"), found: "old", unhealthy: true, check: keepsEvidence},
	}
	for i := range cases {
		cases[i].rollback = true
	}
	return cases
}
