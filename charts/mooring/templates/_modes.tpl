{{/*
Fails where a section of the mode that is not chosen differs from its default: nothing would come of it. Helm does not show templates the
defaults, so files/sidecars.json has them once more; a test compares it with values.yaml.
*/}}
{{- define "mooring.checkModes" -}}
{{- $controller := .Values.controller -}}
{{- $node := .Values.node -}}
{{- $liveness := and $controller.enabled $controller.livenessProbe.enabled -}}
{{- $unused := list -}}
{{- if and $controller.enabled (eq $controller.mode "combined") -}}
{{- range list "provisioner" "attacher" "resizer" -}}
{{- if (get $.Values.sidecars .).additionalArgs -}}
{{- fail (printf "sidecars.%s.additionalArgs: with controller.mode=combined, say --%s-FLAG=VALUE in sidecars.controller.additionalArgs" . .) -}}
{{- end -}}
{{- $used := list "enabled" "additionalClusterRoleRules" "capacityOwnerrefLevel" -}}
{{- $unused = append $unused (dict "section" . "used" $used "mode" "controller.mode=combined" "instead" "sidecars.controller") -}}
{{- end -}}
{{- else if $controller.enabled -}}
{{- $instead := "sidecars.provisioner, sidecars.attacher and sidecars.resizer" -}}
{{- $unused = append $unused (dict "section" "controller" "used" list "mode" "controller.mode=separate" "instead" $instead) -}}
{{- end -}}
{{- if and $node.enabled (eq $node.mode "combined") -}}
{{- $used := ternary (without (keys .Values.sidecars.livenessProbe) "httpPort") list $liveness -}}
{{- $unused = append $unused (dict "section" "nodeDriverRegistrar" "used" list "mode" "node.mode=combined" "instead" "sidecars.node") -}}
{{- $unused = append $unused (dict "section" "livenessProbe" "used" $used "mode" "node.mode=combined" "instead" "sidecars.node") -}}
{{- else if $node.enabled -}}
{{- $instead := "sidecars.nodeDriverRegistrar and sidecars.livenessProbe" -}}
{{- $unused = append $unused (dict "section" "node" "used" list "mode" "node.mode=separate" "instead" $instead) -}}
{{- end -}}
{{- $defaults := .Files.Get "files/sidecars.json" | fromJson -}}
{{- range $one := $unused -}}
{{- $default := get $defaults $one.section -}}
{{- range $key, $value := get $.Values.sidecars $one.section -}}
{{- if not (or (has $key $one.used) (eq (toJson $value) (toJson (get $default $key)))) -}}
{{- fail (printf "sidecars.%s.%s does nothing with %s: set it in %s" $one.section $key $one.mode $one.instead) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
