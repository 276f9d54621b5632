package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/docs"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

func inventorySchemaCommand(call *invocation) *cobra.Command {
	return &cobra.Command{Use: "schema", Short: "Print the JSON schema of an inventory, for editors", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprint(call.stdout, schemaText())
			return nil
		}}
}

// schemaText returns the JSON schema of an inventory, with what the documents say about each key.
func schemaText() string {
	about := docs.Keys()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", " ")
	enc.SetEscapeHTML(false)
	_ = enc.Encode(inventory.Schema(func(key string) string { return about[key] })) // it has only texts and numbers
	return b.String()
}
