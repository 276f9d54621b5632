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

// errNoSFTP is the cause of an error after which the machine can be tried
// without SFTP.
var errNoSFTP = errors.New("no SFTP")

// Statuses of the commands below (sysexits.h: EX_CANTCREAT, EX_IOERR).
const (
	cannotMake  = 73
	cannotWrite = 74
)

// These do what Put and Remove do where there is no SFTP, with the bytes on
// standard input. Any login shell passes them on to sh as they are: quoted in
// single quotes, without a quote, a backslash, a line break or an exclamation mark
// in between (csh(1) finds history in there), and with names that need no quotes.
const (
	putCommand = `env LC_ALL=C sh -c 'umask 077; mkdir -- "$1" || exit 73; ` +
		`cat >"$1/$2" && test "$(wc -c <"$1/$2")" -eq "$3" && exit 0; rm -rf -- "$1"; exit 74' sh `
	removeCommand = `env LC_ALL=C sh -c 'rm -f -- "$1/$2" && if test -d "$1"; then rmdir -- "$1"; fi' sh `
)

var plainName = regexp.MustCompile(`^[A-Za-z0-9._/][A-Za-z0-9._/-]*$`)

// putByExec is [Conn.Put] with a command instead of SFTP. A connection that is
// lost in between is an end of input, and the bytes are counted: what did not
// arrive whole is removed there.
func (c *Conn) putByExec(ctx context.Context, dir, name string, data []byte) error {
	if !plainName.MatchString(dir) || !plainName.MatchString(name) {
		return &problem.Error{Class: problem.Internal, Message: "not a plain directory and file name"}
	}
	_, err := c.Run(ctx, putCommand+dir+" "+name+" "+strconv.Itoa(len(data)), data)
	return execError(err, "cannot write the file", problem.Disk)
}

func (c *Conn) removeByExec(ctx context.Context, dir, name string) error {
	if !plainName.MatchString(dir) || !plainName.MatchString(name) {
		return &problem.Error{Class: problem.Internal, Message: "not a plain directory and file name"}
	}
	_, err := c.Run(ctx, removeCommand+dir+" "+name, nil)
	return execError(err, "cannot remove the file", problem.Command)
}

// execError is what sftpError is for SFTP.
func execError(err error, what string, likely problem.Class) error {
	var exit *ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if exit.Status == cannotMake {
		what = "cannot create the private directory"
	}
	switch {
	case strings.Contains(exit.Stderr, "Permission denied"):
		return &problem.Error{Class: problem.Command, Message: what + ": permission denied", Err: fs.ErrPermission}
	case strings.Contains(exit.Stderr, "File exists"):
		return &problem.Error{Class: problem.Command, Message: what + ": it already exists"}
	case exit.Status != cannotMake && exit.Status != cannotWrite:
		likely = problem.Command // the login shell did not get as far
	}
	lines := strings.Split(strings.TrimSpace(exit.Stderr), "\n")
	return &problem.Error{Class: likely, Message: what + " (without SFTP): " + display.Sanitise(lines[len(lines)-1], 200)}
}
