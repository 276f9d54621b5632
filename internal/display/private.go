package display

import "fmt"

const (
	reset = "icacls %[1]s /reset; "
	own   = `icacls %[1]s /inheritance:r /grant:r "${env:USERNAME}:`
)

// MakePrivate returns the command with which the operator takes all rights to a file from others.
func MakePrivate(path string) string {
	return fmt.Sprintf(ForShell("chmod 600 %s", reset+own+`F"`), Arg(path))
}

// MakeFolderPrivate is MakePrivate for a folder and what is made in it.
func MakeFolderPrivate(path string) string {
	return fmt.Sprintf(ForShell("chmod 700 %s", reset+own+`(OI)(CI)F"`), Arg(path))
}

// MakePrivateFolder returns the command that creates a folder for the operator alone.
func MakePrivateFolder(path string) string {
	return fmt.Sprintf(ForShell("mkdir -m 700 %s", "mkdir %[1]s; "+own+`(OI)(CI)F"`), Arg(path))
}

// MakeFolder returns the command that creates a folder and those above it.
func MakeFolder(path string) string {
	return ForShell("mkdir -p ", "mkdir ") + Arg(path)
}
