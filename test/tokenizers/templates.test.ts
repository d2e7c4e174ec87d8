import { describe, expect, it } from 'vitest';
import { InvalidArgumentError } from '../../lib/errors.js';
import { AutoTokenizer, applyPromptTemplate } from '../../lib/tokenizers/index.js';
import { KOMT_TINY } from './fixtures.js';

const CHAT = [
  { role: 'system', content: '짧게.' },
  { role: 'user', content: '수도는?' },
  { role: 'assistant', content: '서울.' },
  { role: 'user', content: '인구는?' },
];

describe('prompt templates by name', () => {
  it('one question', () => {
    expect(applyPromptTemplate('komt', '왜?')).toBe('### instruction: 왜?\n\n### Response:');
    expect(applyPromptTemplate('komt-space', '왜?')).toBe('### instruction: 왜?\n\n### Response: ');
    expect(applyPromptTemplate('llama-2-chat', '왜?')).toBe('[INST] 왜? [/INST]');
    expect(applyPromptTemplate('mistral', '왜?')).toBe('[INST]왜? [/INST]');
  });

  it('a conversation', () => {
    expect(applyPromptTemplate('komt', CHAT)).toBe(
      '짧게.\n\n### instruction: 수도는?\n\n### Response: 서울.\n\n### instruction: 인구는?\n\n### Response:',
    );
    expect(applyPromptTemplate('llama-2-chat', CHAT)).toBe(
      '[INST] <<SYS>>\n짧게.\n<</SYS>>\n\n수도는? [/INST] 서울. </s><s>[INST] 인구는? [/INST]',
    );
    expect(applyPromptTemplate('mistral', CHAT, { bos_token: '<b>', eos_token: '<e>' })).toBe(
      '[INST]짧게.\n\n수도는? [/INST] 서울. <e><b>[INST]인구는? [/INST]',
    );
  });

  it('the trailing space changes the tokens', async () => {
    const tokenizer = await AutoTokenizer.from_pretrained(KOMT_TINY);
    const ids = (name: 'komt' | 'komt-space') => tokenizer.encode(applyPromptTemplate(name, '왜?'));
    expect(ids('komt-space')).not.toEqual(ids('komt'));
  });

  it('refuses what is no conversation, and tokens that are no texts', () => {
    for (const messages of [null, 5, [null], [{ role: 'user' }], new Array(2 ** 32 - 1)]) {
      const call = () => applyPromptTemplate('komt', messages as never);
      expect(call).toThrow('a text or a list of messages');
      expect(call).toThrow(InvalidArgumentError);
    }
    for (const tokens of [null, { eos_token: { toString: null } }, { bos_token: 1 }]) {
      const call = () => applyPromptTemplate('mistral', CHAT, tokens as never);
      expect(call).toThrow(InvalidArgumentError);
    }
  });

  it('refuses roles that do not alternate and names it does not know', () => {
    const user = { role: 'user', content: 'a' };
    expect(() => applyPromptTemplate('komt', [user, user])).toThrow(/roles must alternate/);
    expect(() => applyPromptTemplate('komt', [{ role: 'assistant', content: 'a' }])).toThrow(
      /alternate/,
    );
    expect(() => applyPromptTemplate('komt', [])).toThrow(/at least one user message/);
    expect(() => applyPromptTemplate('chatml' as 'komt', 'a')).toThrow(/Unknown prompt template/);
  });
});
