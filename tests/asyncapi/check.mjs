// docs/asyncapi.yaml against the JSON Schema of its version of AsyncAPI. What it says of Bellwether is held to the code in tests/schemas.rs.
import { readFileSync } from 'node:fs';
import specs from '@asyncapi/specs';
import { Ajv } from 'ajv';
import { parse } from 'yaml';

const document = parse(readFileSync(new URL('../../docs/asyncapi.yaml', import.meta.url), 'utf8'));
const schema = specs.schemas[document.asyncapi];
if (!schema) throw new Error(`there is no schema of AsyncAPI ${document.asyncapi}`);
// It brings its own copy of the schema of schemas, and formats that Ajv does not know.
const validate = new Ajv({ strict: false, allErrors: true, validateFormats: false, meta: false, validateSchema: false, inlineRefs: false }).compile(schema);

const problems = (value) => (validate(value) ? [] : validate.errors.map(({ instancePath, message }) => `${instancePath || '/'}: ${message}`));
const found = problems(document);
found.forEach((problem) => console.error(`docs/asyncapi.yaml: ${problem}`));
const misspelt = { ...document, chanels: {} };
if (problems(misspelt).length === 0) throw new Error('the schema accepts anything');
process.exitCode = found.length > 0 ? 1 : 0;
