// Package secretsource names the place where a secret is kept, as an inventory does under
// password_from: and similar keys. It is a type only: package secret reads the secret.
package secretsource

// Source is the place of a secret. At most one field is set; the zero value is no source.
type Source struct {
	Ask     bool   // prompt at the terminal
	File    string // path of a regular file on the workstation that only its owner can access
	Env     string // name of an environment variable
	Command string // line for sh that prints the secret
}
