// Package azurecloud says which Azure is asked, and how it is reached: what an
// inventory has under azure: and what package azure works with.
package azurecloud

// Settings name a cloud. The zero value is the public one.
type Settings struct {
	Name          string // public, usgovernment, china or custom; "" is public
	AuthorityHost string // https://HOST[:PORT] of Entra; "" is the cloud's
	VaultSuffix   string // what follows a vault's name and a dot; "" is the cloud's
	GraphHost     string // https://HOST[:PORT] of Microsoft Graph; "" is the cloud's
	// DisableInstanceDiscovery leaves out the question to login.microsoftonline.com
	// whether an authority that Microsoft's library does not know may be trusted.
	DisableInstanceDiscovery bool
	Proxy                    string // http[s]://HOST[:PORT], for every https request; "" is the environment's
	CAFile                   string // PEM file of the authorities to trust, at most 4 MiB; "" is the system's
}
