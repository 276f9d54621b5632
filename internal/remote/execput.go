package remote

import (
	"context"
	"errors"
	"io/fs"
	"regexp"
	"strconv"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// errNoSFTP is the cause of errors after which a command can replace SFTP.
var errNoSFTP = errors.New("no SFTP")

// Exit statuses of the commands below (EX_CANTCREAT and EX_IOERR in sysexits.h).
const (
	cannotCreate = 73
	cannotWrite  = 74
)

// These commands replace SFTP for Put and Remove, with the bytes on
// standard input. Every login shell passes them to sh unchanged: they are in
// single quotes and contain no quote, backslash, newline or exclamation mark
// (csh(1) expands history there), and their arguments need no quotes.
const (
	putCommand = `env LC_ALL=C sh -c 'umask 077; mkdir -- "$1" || exit 73; ` +
		`cat >"$1/$2" && test "$(wc -c <"$1/$2")" -eq "$3" && exit 0; rm -rf -- "$1"; exit 74' sh `
	removeCommand = `env LC_ALL=C sh -c 'rm -f -- "$1/$2" && if test -d "$1"; then rmdir -- "$1"; fi' sh `
)

var plainName = regexp.MustCompile(`^[A-Za-z0-9._/][A-Za-z0-9._/-]*$`)

// putByExec is [Conn.Put] with a command instead of SFTP. A lost connection looks
// like an end of input, so the command counts the bytes and removes an incomplete
// file.
func (c *Conn) putByExec(ctx context.Context, dir, name string, data []byte) error {
	if !plainName.MatchString(dir) || !plainName.MatchString(name) {
		return &problem.Error{Class: problem.Internal, Message: "not a plain directory and file name"}
	}
	_, err := c.Run(ctx, putCommand+dir+" "+name+" "+strconv.Itoa(len(data)), data)
	return execError(err, "cannot write the file", problem.Disk)
}

// removeByExec is [Conn.Remove] with a command instead of SFTP.
func (c *Conn) removeByExec(ctx context.Context, dir, name string) error {
	if !plainName.MatchString(dir) || !plainName.MatchString(name) {
		return &problem.Error{Class: problem.Internal, Message: "not a plain directory and file name"}
	}
	_, err := c.Run(ctx, removeCommand+dir+" "+name, nil)
	return execError(err, "cannot remove the file", problem.Command)
}

// execError returns the error of a failed command, as sftpError does for SFTP.
func execError(err error, what string, likely problem.Class) error {
	var exit *ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if exit.Status == cannotCreate {
		what = "cannot create the private directory"
	}
	switch {
	case strings.Contains(exit.Stderr, "Permission denied"):
		return &problem.Error{Class: problem.Command, Message: what + ": permission denied", Err: fs.ErrPermission}
	case strings.Contains(exit.Stderr, "File exists"):
		return &problem.Error{Class: problem.Command, Message: what + ": it already exists"}
	case exit.Status != cannotCreate && exit.Status != cannotWrite:
		likely = problem.Command // the login shell did not run the command
	}
	lines := strings.Split(strings.TrimSpace(exit.Stderr), "\n")
	return &problem.Error{Class: likely, Message: what + " (without SFTP): " + display.Sanitise(lines[len(lines)-1], 200)}
}
