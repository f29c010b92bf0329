// Checks classic dashboards against the types of @grafana/schema: `check.cjs DASHBOARD.json...`. Each dashboard becomes an object
// literal of Grafana's type, and each panel's options and custom field settings one of its plugin's, so that the compiler finds
// values that do not fit and names that nobody knows.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const ts = require('typescript');

// What Grafana's own panels call their types; a panel of another kind is refused.
const PANELS = {
  timeseries: ['timeseries', 'TimeSeries'],
  'state-timeline': ['statetimeline', 'StateTimeline'],
  stat: ['stat', 'Stat'],
  heatmap: ['heatmap', 'Heatmap'],
  table: ['table', 'Table'],
};
const schema = path.dirname(require.resolve('@grafana/schema/package.json'));

function source(dashboard) {
  // What the data source, and not the schema, defines: queries and how annotations are read.
  const { panels, ...rest } = dashboard;
  const lines = [
    "import type { Dashboard, Panel, RowPanel, TableFieldOptions } from '@grafana/schema';",
    // String enumerations are written as their values.
    'type Plain<T> = T extends string ? `${T}` : T extends (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;',
    'type Board = Plain<Omit<Dashboard, "panels" | "annotations" | "templating">> & { panels: unknown[] };',
  ];
  for (const [folder, name] of Object.values(PANELS)) {
    lines.push(`import type * as ${folder} from '@grafana/schema/dist/esm/raw/composable/${folder}/panelcfg/x/${name}PanelCfg_types.gen';`);
  }
  const { annotations, templating, ...board } = rest;
  lines.push(`const board: Omit<Board, 'panels'> = ${JSON.stringify(board, null, 1)};`);
  for (const [n, annotation] of annotations.list.entries()) {
    const { expr, step, titleFormat, textFormat, tagKeys, useValueForTime, ...known } = annotation;
    lines.push(`const annotation${n}: Plain<NonNullable<NonNullable<Dashboard['annotations']>['list']>[number]> = ${JSON.stringify(known, null, 1)};`);
  }
  for (const [n, variable] of templating.list.entries()) {
    const { definition, ...known } = variable;
    lines.push(`const variable${n}: Plain<NonNullable<NonNullable<Dashboard['templating']>['list']>[number]> = ${JSON.stringify(known, null, 1)};`);
  }
  for (const [n, panel] of panels.entries()) {
    if (panel.type === 'row') {
      lines.push(`const panel${n}: Plain<RowPanel> = ${JSON.stringify(panel, null, 1)};`);
      continue;
    }
    const kind = PANELS[panel.type];
    if (!kind) throw new Error(`panel ${panel.title}: ${panel.type} is not checked; add it to check.cjs`);
    const { options, fieldConfig, ...frame } = panel;
    const { custom, ...defaults } = fieldConfig.defaults;
    lines.push(`const panel${n}: Plain<Omit<Panel, 'options' | 'fieldConfig'>> = ${JSON.stringify(frame, null, 1)};`);
    lines.push(`const options${n}: Plain<${kind[0]}.Options> = ${JSON.stringify(options, null, 1)};`);
    lines.push(`const defaults${n}: Plain<Omit<NonNullable<Panel['fieldConfig']>['defaults'], 'custom'>> = ${JSON.stringify(defaults, null, 1)};`);
    lines.push(`const overrides${n}: Plain<NonNullable<Panel['fieldConfig']>['overrides']> = ${JSON.stringify(fieldConfig.overrides, null, 1)};`);
    if (custom) {
      const type = panel.type === 'table' ? 'TableFieldOptions' : `${kind[0]}.FieldConfig`;
      if (panel.type === 'stat') throw new Error(`panel ${panel.title}: a stat has no custom field settings`);
      lines.push(`const custom${n}: Plain<${type}> = ${JSON.stringify(custom, null, 1)};`);
    }
  }
  lines.push('export {};');
  return lines.join('\n');
}

let failed = false;
for (const file of process.argv.slice(2)) {
  const dashboard = JSON.parse(fs.readFileSync(file, 'utf8'));
  const name = path.join(path.dirname(path.dirname(path.dirname(schema))), `${path.basename(file, '.json')}.check.ts`);
  const text = source(dashboard);
  const options = {
    noEmit: true, strict: true, skipLibCheck: true, types: [],
    target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext,
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists, readFile } = host;
  host.getSourceFile = (asked, ...more) => asked === name ? ts.createSourceFile(asked, text, ts.ScriptTarget.ES2022) : getSourceFile(asked, ...more);
  host.fileExists = (asked) => asked === name || fileExists(asked);
  host.readFile = (asked) => asked === name ? text : readFile(asked);
  const program = ts.createProgram([name], options, host);
  for (const found of ts.getPreEmitDiagnostics(program)) {
    failed = true;
    const at = found.file && found.start !== undefined ? found.file.getLineAndCharacterOfPosition(found.start) : undefined;
    const line = at && found.file.fileName === name ? text.split('\n')[at.line].trim() : found.file?.fileName;
    console.error(`${file}: ${line ?? ''}: ${ts.flattenDiagnosticMessageText(found.messageText, '\n  ')}`);
  }
}
process.exit(failed ? 1 : 0);
