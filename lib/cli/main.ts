import { Command } from 'commander';
import { addBuildCommand } from './build.js';
import { addChatCommand } from './chat.js';
import { addGenerateCommand } from './generate.js';
import { addInspectCommand } from './inspect.js';
import { exitOnBrokenOutput } from './output.js';
import { packageVersion } from './package.js';
import { reportFailure } from './report.js';

const program = new Command('komt')
  .description('Runs Llama-family chat models straight from their Hugging Face files.')
  .version(packageVersion())
  .showHelpAfterError('(komt --help shows what there is)')
  .addHelpText(
    'after',
    `
Examples:
  komt generate "자동차 종합(정기)검사 의무기간은 얼마인가요?"
  komt generate --model davidkim205/komt-Llama-2-13b-hf --device cuda "한국의 수도는 어디인가요?"
  komt chat --model ./my-llama
  komt inspect --model davidkim205/komt-Llama-2-13b-hf
  komt build --cuda on

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted (Ctrl-C),
143 terminated. KOMT_DEBUG=1 or --verbose shows the stack of an error.`,
  );
addGenerateCommand(program);
addChatCommand(program);
addInspectCommand(program);
addBuildCommand(program);
// Commander's own exit code for wrong usage is 1, which scripts cannot tell from a failure.
program.exitOverride((error) => {
  process.exitCode = error.exitCode === 0 ? 0 : 2;
  throw error;
});
for (const command of program.commands) command.copyInheritedSettings(program);

exitOnBrokenOutput();
process.on('uncaughtException', (error) => {
  reportFailure(error, process.argv);
  process.exit();
});
program.parseAsync().catch((error: unknown) => reportFailure(error, process.argv));
