// Package secretsource says where a secret is kept, never the secret itself: what an
// inventory has under password_from: and its kind, and what package secret reads.
package secretsource

// Source is where a secret is read from. At most one of its fields is set; the zero
// value is no source.
type Source struct {
	Ask     bool   // the terminal
	File    string // path of a regular file on the workstation that nobody else can read
	Env     string // name of an environment variable
	Command string // a line for sh; its standard output is the secret
}
