package azurecloud

import "strings"

// VaultScheme is the prefix of a certificate's source in a Key Vault, which has the
// form keyvault://VAULT/NAME[/VERSION].
const VaultScheme = "keyvault://"

// InVault reports whether the source of a certificate starts with VaultScheme, in any
// case, and so is no file. The rest of it may be invalid.
func InVault(source string) bool {
	return len(source) >= len(VaultScheme) && strings.EqualFold(source[:len(VaultScheme)], VaultScheme)
}
